package manifest_test

import (
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

func TestRedisKeepsItsData(t *testing.T) {
	each(t, func(s state) []string { return manifest.RedisKeepsItsData(s.objects) })
}
