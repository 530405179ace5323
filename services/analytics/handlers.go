package analytics

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Bounds of GET /v1/analytics/orders.
const (
	defaultOrders = 20
	maxOrders     = maxRecent
)

func operatorOnly(r *http.Request) error {
	switch caller := web.Caller(r); {
	case caller.Subject == "":
		return problem.New(problem.Unauthenticated, "log in as an operator")
	case caller.Role != web.RoleOperator:
		return problem.New(problem.Forbidden, "the figures are for operators")
	}
	return nil
}

// handleSummary answers GET /v1/analytics/summary.
func (s *Service) handleSummary(w http.ResponseWriter, r *http.Request) error {
	if err := operatorOnly(r); err != nil {
		return err
	}
	total, err := s.total(r.Context())
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, total.summary())
}

// handleOrders answers GET /v1/analytics/orders?limit=, the newest first.
func (s *Service) handleOrders(w http.ResponseWriter, r *http.Request) error {
	if err := operatorOnly(r); err != nil {
		return err
	}
	limit := defaultOrders
	if query := r.URL.Query(); query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 1 || n > maxOrders {
			return problem.New(problem.InvalidRequest, "1 faulty field(s)").
				WithFields(problem.Field{Name: "limit", Reason: fmt.Sprintf("must be an integer from 1 to %d", maxOrders)})
		}
		limit = n
	}
	total, err := s.total(r.Context())
	if err != nil {
		return err
	}
	var newest recent
	err = s.eachShard(r.Context(), recentKey, func(value []byte) error {
		var part recent
		err := json.Unmarshal(value, &part)
		newest.Orders = append(newest.Orders, part.Orders...)
		return err
	})
	if err != nil {
		return err
	}
	newest.sort()
	var keys []string
	for _, o := range newest.Orders[:min(limit, len(newest.Orders))] {
		keys = append(keys, orderKey(o.ID))
	}
	items, err := s.deps.State.GetBulk(r.Context(), keys)
	if err != nil {
		return err
	}
	list := analyticsapi.OrderList{AsOf: total.asOf(), Consistency: analyticsapi.Eventual, Orders: []analyticsapi.Order{}}
	for i, item := range items {
		var d doc
		if err := json.Unmarshal(item.Value, &d); err != nil {
			return fmt.Errorf("%s: %w", keys[i], err)
		}
		list.Orders = append(list.Orders, d.order())
	}
	return web.JSON(w, http.StatusOK, list)
}

// total adds the shards up.
func (s *Service) total(ctx context.Context) (stats, error) {
	var total stats
	err := s.eachShard(ctx, statsKey, func(value []byte) error {
		var part stats
		if err := json.Unmarshal(value, &part); err != nil {
			return err
		}
		total.add(part, 1)
		return nil
	})
	return total, err
}

func (s *Service) eachShard(ctx context.Context, key func(int) string, f func(value []byte) error) error {
	keys := make([]string, shards)
	for i := range keys {
		keys[i] = key(i)
	}
	items, err := s.deps.State.GetBulk(ctx, keys)
	if err != nil {
		return err
	}
	for i, item := range items {
		if !item.Exists() {
			continue
		}
		if err := f(item.Value); err != nil {
			return fmt.Errorf("%s: %w", keys[i], err)
		}
	}
	return nil
}
