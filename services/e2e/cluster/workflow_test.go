package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// nextOrder is the order service whose saga has a step more (services/order, build tag next).
const nextOrder = "dishmesh/order:next"

// TestWorkflowCodeChange rolls out a release whose saga has a step more, while two sagas are under way: one that has yet
// to come to the place of the new step, and one that is past it.
func TestWorkflowCodeChange(t *testing.T) {
	r := shows(t, "change", "Sagas under way live through a change of the workflow's code: one before the new step takes it, one past it goes on as it began.",
		"services/order/next_on.go")
	here.variant(r, "order", "next", nextOrder)
	p := here.register(r)
	before := here.place(r, p, wish{restaurant: "rst_01", note: "city:kitchen=ignore"})
	past := here.place(r, p, wish{restaurant: "rst_02", courierNote: customer.NoCourierNote})
	courier := here.courierFor(r, past)
	kitchen := here.staff(r, web.RoleKitchen, before.RestaurantID)
	r.Eventually(time.Minute, "the kitchen has the ticket", func() error {
		return here.ticket(r.Context(), kitchen, before.ID)
	})

	was := here.image(r, "order")
	began := time.Now()
	r.Cleanup(func() { here.setImage(r, "order", was) })
	here.setImage(r, "order", nextOrder)
	here.gone(r, "order") // the old pod keeps its sagas while it drains, and takes them on as it knows how
	r.Figure("rollout of the new release", fmt.Sprintf("%.0f s", time.Since(began).Seconds()), "")
	for _, o := range []orderapi.Order{before, past} {
		now, err := p.Order(r.Context(), o.ID)
		if err != nil {
			r.Fatal(err)
		}
		r.Saw("order %s was %s while the code changed under it", o.ID, now.Status)
	}

	// Both go on where they were.
	do := func(who person, path string, body any) {
		r.Helper()
		if err := who.API.Do(r.Context(), http.MethodPost, path, body, nil); err != nil {
			r.Fatalf("%s: %v", path, err)
		}
	}
	do(kitchen, "/v1/tickets/"+before.ID+"/accept", map[string]int{"prep_minutes": 5})
	do(kitchen, "/v1/tickets/"+before.ID+"/ready", nil)
	do(courier, "/v1/deliveries/"+past.ID+"/pickup", nil)
	do(courier, "/v1/deliveries/"+past.ID+"/deliver", nil)
	fresh := here.place(r, p, wish{})
	for _, o := range []orderapi.Order{before, past, fresh} {
		here.reaches(r, p, o.ID, 2*time.Minute, orderapi.Delivered)
	}

	log, err := here.Run(r.Context(), "logs", "-n", communication.Namespace, "-l", "app=order", "-c", "app", "--since-time", began.UTC().Format(time.RFC3339), "--tail", "-1")
	if err != nil {
		r.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		order orderapi.Order
		want  bool
	}{{"placed before, not yet at the new step", before, true}, {"placed before, past the new step", past, false}, {"placed after", fresh, true}} {
		took := false
		for line := range strings.SplitSeq(log, "\n") {
			took = took || strings.Contains(line, "confirmed before dispatch") && strings.Contains(line, c.order.ID)
		}
		if took != c.want {
			r.Errorf("%s: it took the new step: %t, want %t", c.what, took, c.want)
		}
		r.Saw("%s: delivered, took the new step: %t", c.what, took)
	}
	here.auditGreen(r)
}

// ticket says that a kitchen has no ticket of an order, if so.
func (s *site) ticket(ctx context.Context, kitchen person, order string) error {
	var list restaurantapi.TicketList
	if err := kitchen.API.Do(ctx, http.MethodGet, "/v1/restaurants/"+kitchen.User.RestaurantID+"/tickets", nil, &list); err != nil {
		return err
	}
	for _, t := range list.Tickets {
		if t.OrderID == order {
			return nil
		}
	}
	return errors.New("not yet")
}

// courierFor makes a courier of the tests who takes an order that every other one declines.
func (s *site) courierFor(t *T, o orderapi.Order) person {
	t.Helper()
	email, password := ids.New("courier")+"@example.com", ids.New("password")
	in := map[string]string{"email": email, "password": password, "name": "Proof", "role": web.RoleCourier}
	if a := s.caller.Do(t.Context(), s.raw("", http.MethodPost, "/v1/users", in)); a.Status != http.StatusCreated {
		t.Fatalf("register a courier: %s", a)
	}
	c := s.login(t, email, password)
	online := true
	at := deliveryapi.PresenceRequest{Online: &online, Lat: &o.Pickup.Lat, Lon: &o.Pickup.Lon}
	if err := c.API.Do(t.Context(), http.MethodPut, "/v1/couriers/me", at, nil); err != nil {
		t.Fatalf("a courier goes online: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		online = false
		if err := c.API.Do(ctx, http.MethodPut, "/v1/couriers/me", at, nil); err != nil {
			t.Logf("the courier stays online: %v", err)
		}
	})
	t.Eventually(50*time.Second, "the courier is offered the order and takes it", func() error {
		return c.API.Do(t.Context(), http.MethodPost, "/v1/deliveries/"+o.ID+"/accept", nil, nil)
	})
	return c
}

// variant builds a service with a build tag, makes an image of it and loads it into the node.
func (s *site) variant(t *T, app, tag, image string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace,"+tag, "-ldflags", "-s -w", "-o", filepath.Join(root, app), "./services/cmd/"+app)
	build.Dir = s.home
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s with the tag %s: %v: %s", app, tag, err, out)
	}
	if err := os.Symlink("/"+app, filepath.Join(root, "service")); err != nil {
		t.Fatal(err)
	}
	_, err := s.dockerRun(ctx, "build", "--quiet", "--target", "prebuilt", "--file", filepath.Join(s.home, "k8s", "Dockerfile"), "--build-arg", "SERVICE="+app, "--tag", image, dir)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "image.tar")
	if _, err := s.dockerRun(ctx, "save", "--output", archive, image); err != nil {
		t.Fatal(err)
	}
	if _, err := s.dockerRun(ctx, "cp", archive, node+":/proof-image.tar"); err != nil {
		t.Fatal(err)
	}
	s.onNode(t, "ctr", "--namespace", "k8s.io", "images", "import", "--all-platforms", "/proof-image.tar")
	s.onNode(t, "rm", "/proof-image.tar")
}

// image is what an app runs.
func (s *site) image(t *T, app string) string {
	t.Helper()
	var d kubectl.Deployment
	if err := s.Get(t.Context(), &d, "deployment", app, "-n", communication.Namespace); err != nil {
		t.Fatal(err)
	}
	return d.Image("app")
}

// setImage rolls an image of an app out. It is also how a test takes that back, so it does not end with the test.
func (s *site) setImage(t *T, app, image string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), rolloutWithin+time.Minute)
	defer cancel()
	_, err := s.Run(ctx, "set", "image", "-n", communication.Namespace, "deployment/"+app, "app="+image)
	if err == nil {
		err = s.RolledOut(ctx, communication.Namespace, "deployment/"+app, rolloutWithin)
	}
	if err != nil {
		t.Errorf("roll %s out: %v", image, err)
	}
}
