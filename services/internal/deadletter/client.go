package deadletter

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// askWithin bounds how long an app is waited for: less than who asks all of them may take for the answer.
const askWithin = 4 * time.Second

// Client asks apps for their dead letters on behalf of an operator.
type Client struct{ sidecar.Invoker }

// List asks app for its letters, the newest first, at most limit.
func (c Client) List(ctx context.Context, app string, who web.Identity, f Filter, limit int) (List, error) {
	query := f.Values()
	query.Set("limit", strconv.Itoa(limit))
	var out List
	err := c.get(ctx, app, Path+"/"+app+"?"+query.Encode(), who, &out)
	return out, err
}

// Trail asks app who did what, the newest first, at most limit records.
func (c Client) Trail(ctx context.Context, app string, who web.Identity, limit int) (Trail, error) {
	var out Trail
	err := c.get(ctx, app, Path+"/"+app+"/audit?"+url.Values{"limit": {strconv.Itoa(limit)}}.Encode(), who, &out)
	return out, err
}

func (c Client) get(ctx context.Context, app, path string, who web.Identity, out any) error {
	header := http.Header{}
	who.Set(header)
	return c.Invoke(ctx, sidecar.Call{App: app, Method: http.MethodGet, Path: path, Header: header, Out: out, Within: askWithin})
}
