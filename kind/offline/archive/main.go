// Command archive writes one container image as a file that `docker load`, `ctr images import` and
// `kind load image-archive` read, from plain folders. It needs no container engine and no registry, and the same folders
// give the same bytes: entries are sorted and carry no times.
//
//	archive -ref NAME:TAG -o FILE [-user U] [-env K=V] [-entrypoint A] [-cmd A] LAYER…
//
// A LAYER is a FOLDER, taken whole; debian:FOLDER for a Debian root without what only its package manager reads; or
// debian:FOLDER-from:BASE for what that root has beyond another one, so that images made over one base share its layer.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

// list collects a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var img image
	var out string
	var env, entrypoint, cmd, labels list
	flags := flag.NewFlagSet("archive", flag.ContinueOnError)
	flags.StringVar(&img.ref, "ref", "", "name and tag of the image")
	flags.StringVar(&out, "o", "", "file to write")
	flags.StringVar(&img.config.User, "user", "", "user and group that the process runs as")
	flags.StringVar(&img.config.WorkingDir, "workdir", "/", "folder that the process starts in")
	flags.StringVar(&img.config.StopSignal, "stop-signal", "", "signal that asks the process to end; SIGTERM when empty")
	flags.Var(&env, "env", "a variable of the process, KEY=VALUE; may be repeated")
	flags.Var(&entrypoint, "entrypoint", "one word of the entry point; may be repeated")
	flags.Var(&cmd, "cmd", "one word of the default arguments; may be repeated")
	flags.Var(&labels, "label", "a label, KEY=VALUE; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if img.ref == "" || out == "" || flags.NArg() == 0 {
		return errors.New("name the image (-ref), the file (-o) and at least one folder")
	}
	img.config.Env, img.config.Entrypoint, img.config.Cmd = env, entrypoint, cmd
	for _, label := range labels {
		k, v, ok := strings.Cut(label, "=")
		if !ok {
			return fmt.Errorf("label %q is not KEY=VALUE", label)
		}
		if img.config.Labels == nil {
			img.config.Labels = map[string]string{}
		}
		img.config.Labels[k] = v
	}
	for _, arg := range flags.Args() {
		folder, debian := strings.CutPrefix(arg, "debian:")
		folder, base, _ := strings.Cut(folder, "-from:")
		img.layers = append(img.layers, layer{folder: folder, base: base, debian: debian})
	}
	return img.write(out)
}
