package manifest

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
)

// RedisDefaultUser is how a Redis must be told of the user "default": nobody logs in as it, but it has all rights. Redis reads
// its append-only file as this user when it starts, and without rights drops every transaction in it (seen with 7.0.15).
const RedisDefaultUser = "--user default off ~* &* +@all"

// RedisKeepsItsData holds that to every Redis.
func RedisKeepsItsData(objects []Object) []string {
	var violations []string
	for _, s := range All[*appsv1.StatefulSet](objects) {
		for _, c := range s.Of.Spec.Template.Spec.Containers {
			if strings.HasPrefix(c.Image, "redis:") && !slices.Contains(c.Args, RedisDefaultUser) {
				violations = append(violations, s.File+": StatefulSet "+s.Of.Namespace+"/"+s.Of.Name+" has no argument "+RedisDefaultUser+": it would lose its transactions when it starts anew")
			}
		}
	}
	return violations
}
