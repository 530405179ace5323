package manifest

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

var shownBy = regexp.MustCompile(`(?m)^# Shown by: (.*)$`)

// Comments holds that every file says in its first line what it does, and that the tests that it says it is shown by
// exist.
func Comments(fsys fs.FS, files, tests []string) []string {
	var out []string
	for _, file := range files {
		raw, err := fs.ReadFile(fsys, file)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		if text := string(raw); !strings.HasPrefix(text, "# ") || len(strings.SplitN(text, "\n", 2)[0]) < 20 {
			out = append(out, file+":1: say in a comment what it does")
		}
		for _, m := range shownBy.FindAllStringSubmatch(string(raw), -1) {
			for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(m[1], -1) {
				if !slices.Contains(tests, name) {
					out = append(out, file+": it is shown by "+name+", and there is no such test")
				}
			}
		}
	}
	return out
}
