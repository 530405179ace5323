package cluster

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/sbom"
)

// imageLimit is what an image of a service may weigh, unpacked.
const imageLimit = 25 << 20

// contentLabel is the label of an image with the digest of all that it was made from: an image that has it already is
// not made again.
const contentLabel = "dev.dishmesh.content"

// ownImage is one image of the project's own programs.
type ownImage struct {
	// service is the program, and the last part of the image's name.
	service string
	ref     string
	// program is the file that goes in.
	program string
	// limited images must keep to imageLimit.
	limited bool
}

func serviceRef(service string) string { return "dishmesh/" + service + ":dev" }

// ownPrograms are built from services/cmd: the services, the tool, which in the cluster is the city, and what Tilt has
// beside a service that is edited.
func ownPrograms() []string { return append(platform.Apps(), "dishmesh", "live") }

// stepBuild builds our programs and their images, those that changed.
func (c *Cluster) stepBuild(ctx context.Context) (string, error) {
	images, err := c.buildPrograms(ctx)
	if err != nil {
		return "", err
	}
	have, err := c.imagesByContent(ctx)
	if err != nil {
		return "", err
	}
	c.content = map[string]string{}
	var built []string
	for i, img := range images {
		c.report.Progress(fmt.Sprintf("%s (%d of %d)", img.ref, i+1, len(images)))
		content, err := c.layOut(img)
		if err != nil {
			return "", err
		}
		c.content[img.ref] = content
		if slices.Contains(have[img.ref], content) {
			continue
		}
		if err := c.buildImage(ctx, img, content); err != nil {
			return "", err
		}
		built = append(built, img.service)
	}
	if len(built) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d built", len(built)), nil
}

// buildPrograms builds the services and the tool for the node, and finds daprd.
func (c *Cluster) buildPrograms(ctx context.Context) ([]ownImage, error) {
	bin := filepath.Join(c.files.images(), "bin") + string(filepath.Separator)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags", "grpcnotrace",
		"-ldflags", "-s -w -X github.com/dishmesh/dishmesh/services/internal/cli.version=" + c.cfg.Version, "-o", bin}
	var images []ownImage
	for _, name := range ownPrograms() {
		args = append(args, "./services/cmd/"+name)
		images = append(images, ownImage{service: name, ref: serviceRef(name), program: bin + name, limited: name != "dishmesh"})
	}
	c.report.Progress("building the services")
	if _, err := c.run.Run(ctx, tool.Command{Name: "go", Dir: c.cfg.Home, Args: args,
		Env: []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOFLAGS=-mod=readonly", "GOWORK=off"}}); err != nil {
		return nil, fmt.Errorf("build the services: %w", err)
	}
	if c.source == SourceOffline {
		return images, nil // the offline set has daprd's image
	}
	rt, err := daprruntime.Ensure(ctx, daprruntime.Options{ModuleDir: filepath.Join(c.cfg.Home, runtimeModule), SkipInstalled: true,
		Progress: func(p daprruntime.Progress) {
			c.report.Progress(fmt.Sprintf("%s: %d of %d packages", p.Step, p.Done, p.Total))
		}})
	if err != nil {
		return nil, err
	}
	return append(images, ownImage{service: "daprd", ref: "dishmesh/daprd:" + DaprVersion, program: rt.Path(daprruntime.Daprd)}), nil
}

// imagesByContent lists the content labels of the images in the daemon by reference.
func (c *Cluster) imagesByContent(ctx context.Context) (map[string][]string, error) {
	out, err := c.docker(ctx, "image", "ls", "--quiet", "--no-trunc", "--filter", "label="+contentLabel)
	if err != nil {
		return nil, err
	}
	ids := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	if len(ids) == 0 {
		return nil, nil
	}
	out, err = c.docker(ctx, append([]string{"image", "inspect"}, ids...)...)
	if err != nil {
		return nil, err
	}
	var images []struct {
		RepoTags []string
		Config   struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(out, &images); err != nil {
		return nil, fmt.Errorf("read docker's images: %w", err)
	}
	have := map[string][]string{}
	for _, img := range images {
		for _, ref := range img.RepoTags {
			have[ref] = append(have[ref], img.Config.Labels[contentLabel])
		}
	}
	return have, nil
}

// epoch is the time of every file in an image, so that the same program gives the same layer.
var epoch = time.Unix(0, 0)

// layOut makes the folder that the Dockerfile's target "prebuilt" takes, and returns the digest of all that the image is
// made from.
func (c *Cluster) layOut(img ownImage) (string, error) {
	folder := filepath.Join(c.files.images(), img.service)
	root := filepath.Join(folder, "root")
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	program := filepath.Join(root, img.service)
	if err := link(img.program, program); err != nil {
		return "", err
	}
	if err := os.Symlink("/"+img.service, filepath.Join(root, "service")); err != nil {
		return "", err
	}
	list, err := os.Create(filepath.Join(root, "sbom.cdx.json"))
	if err != nil {
		return "", err
	}
	err = errors.Join(sbom.Write(list, program, "dishmesh/"+img.service, c.cfg.Version), list.Close())
	if err != nil {
		return "", err
	}
	if img.service == "daprd" {
		if err := trustStore(root); err != nil {
			return "", err
		}
	}
	size, sum, err := digest(root)
	if err != nil {
		return "", err
	}
	if img.limited && size > imageLimit {
		return "", fmt.Errorf("the image of %s would be %.1f MB and may be %d: `go tool nm -size -sort size` on the program shows what is large", img.service, float64(size)/(1<<20), imageLimit>>20)
	}
	file, err := os.ReadFile(filepath.Join(c.cfg.Home, dockerfile))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(file)
	h.Write([]byte(sum))
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// trustStore gives daprd, which alone speaks to the outside by TLS, this machine's certificate authorities.
func trustStore(root string) error {
	for _, from := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		b, err := os.ReadFile(from)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		to := filepath.Join(root, "etc/ssl/certs")
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, "ca-certificates.crt"), b, 0o644)
	}
	return nil
}

// link makes a second name of a file, or a copy where that can't be.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// digest sums up the files of a folder, and sets their times to the epoch.
func digest(root string) (size int64, sum string, err error) {
	h := sha256.New()
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\n", name)
		if e.Type() == fs.ModeSymlink {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.Copy(h, f)
		size += n
		if err != nil {
			return err
		}
		return os.Chtimes(path, epoch, epoch)
	})
	return size, hex.EncodeToString(h.Sum(nil)), err
}

func (c *Cluster) buildImage(ctx context.Context, img ownImage, content string) error {
	_, err := c.docker(ctx, "build", "--quiet", "--target", "prebuilt", "--file", filepath.Join(c.cfg.Home, dockerfile), "--tag", img.ref,
		"--build-arg", "SERVICE="+img.service, "--build-arg", "VERSION="+c.cfg.Version, "--label", contentLabel+"="+content,
		filepath.Join(c.files.images(), img.service))
	if err != nil {
		return fmt.Errorf("make the image %s: %w", img.ref, err)
	}
	return nil
}

// stepLoad brings into the node what it lacks: the offline set's images and our own. Each gets a label with its content
// there, for an id is not the same in every version of docker and containerd.
func (c *Cluster) stepLoad(ctx context.Context) (string, error) {
	have, err := c.nodeImages(ctx)
	if err != nil {
		return "", err
	}
	loaded := 0
	if c.source == SourceOffline {
		archives, err := filepath.Glob(filepath.Join(c.set, "images", "*.tar"))
		if err != nil {
			return "", err
		}
		if loaded, err = c.loadArchives(ctx, archives, have); err != nil {
			return "", err
		}
	}
	var changed []string
	for ref, content := range c.content {
		if have[ref] != content {
			changed = append(changed, ref)
		}
	}
	slices.Sort(changed)
	if len(changed) > 0 {
		c.report.Progress(fmt.Sprintf("%d of our own", len(changed)))
		args := slices.Concat([]string{"load", "docker-image", "--name", Name}, changed)
		if _, err := c.run.Run(ctx, tool.Command{Name: "kind", Args: args}); err != nil {
			return "", fmt.Errorf("load our images: %w", err)
		}
		for _, ref := range changed {
			if err := c.labelInNode(ctx, ref, c.content[ref]); err != nil {
				return "", err
			}
		}
	}
	switch {
	case loaded+len(changed) == 0:
		return "", nil
	case len(changed) == len(c.content):
		return fmt.Sprintf("%d images", loaded+len(changed)), nil
	}
	return fmt.Sprintf("%d images, ours: %s", loaded+len(changed), strings.Join(changed, " ")), nil
}

// inNode runs containerd's client in the node.
func (c *Cluster) inNode(ctx context.Context, args ...string) ([]byte, error) {
	return c.docker(ctx, slices.Concat([]string{"exec", nodeName, "ctr", "--namespace", "k8s.io", "images"}, args)...)
}

func (c *Cluster) labelInNode(ctx context.Context, ref, content string) error {
	if _, err := c.inNode(ctx, "label", canonical(ref), contentLabel+"="+content); err != nil {
		return fmt.Errorf("label %s in the node: %w", ref, err)
	}
	return nil
}

// nodeImages are the contents of the images in the node that were loaded by this tool, by reference as people write it.
func (c *Cluster) nodeImages(ctx context.Context) (map[string]string, error) {
	out, err := c.inNode(ctx, "list")
	if err != nil {
		return nil, fmt.Errorf("list the node's images: %w", err)
	}
	return parseNodeImages(string(out)), nil
}

// parseNodeImages reads the table that `ctr images list` prints: the reference comes first, the labels last.
func parseNodeImages(table string) map[string]string {
	have := map[string]string{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		for label := range strings.SplitSeq(fields[len(fields)-1], ",") {
			if content, ok := strings.CutPrefix(label, contentLabel+"="); ok {
				have[familiar(fields[0])] = content
			}
		}
	}
	return have
}

// canonical is a reference with the parts that docker leaves out.
func canonical(ref string) string {
	host, rest, found := strings.Cut(ref, "/")
	switch {
	case !found:
		return "docker.io/library/" + ref
	case strings.ContainsAny(host, ".:") || host == "localhost":
		return host + "/" + rest
	}
	return "docker.io/" + ref
}

// familiar is a reference without the parts that docker leaves out.
func familiar(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
}

// loadArchives loads those images of what kind/offline has made that the node hasn't.
func (c *Cluster) loadArchives(ctx context.Context, files []string, have map[string]string) (int, error) {
	if len(files) == 0 {
		return 0, errors.New("what kind/offline has made is not whole: remove its cache (kind/offline/README.md) and try again")
	}
	loaded := 0
	for i, file := range files {
		ref, id, err := archived(file)
		if err != nil {
			return loaded, fmt.Errorf("%s: %w", file, err)
		}
		if have[familiar(ref)] == id {
			continue
		}
		c.report.Progress(fmt.Sprintf("%s (%d of %d)", ref, i+1, len(files)))
		real, err := filepath.EvalSymlinks(file)
		if err != nil {
			return loaded, err
		}
		if _, err := c.run.Run(ctx, tool.Command{Name: "kind", Args: []string{"load", "image-archive", "--name", Name, real}}); err != nil {
			return loaded, fmt.Errorf("load %s: %w", ref, err)
		}
		if err := c.labelInNode(ctx, ref, id); err != nil {
			return loaded, err
		}
		loaded++
	}
	return loaded, nil
}

// archived reads the reference and the id of the one image in an archive of `docker save`'s form.
func archived(file string) (ref, id string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return "", "", fmt.Errorf("no manifest.json in the archive: %w", err)
		}
		if h.Name != "manifest.json" {
			continue
		}
		var m []struct {
			Config   string
			RepoTags []string
		}
		if err := json.NewDecoder(r).Decode(&m); err != nil {
			return "", "", err
		}
		if len(m) != 1 || len(m[0].RepoTags) != 1 {
			return "", "", errors.New("the archive holds not exactly one image with one name")
		}
		digest := strings.TrimSuffix(filepath.Base(m[0].Config), ".json")
		return m[0].RepoTags[0], digest, nil
	}
}
