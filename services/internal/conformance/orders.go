package conformance

import (
	"context"
	"fmt"
	"strings"
)

// checkOrders runs the whole platform on the profile and has the audit look at what is left.
func checkOrders(ctx context.Context, e *Env) (Outcome, error) {
	out := Outcome{Did: fmt.Sprintf("the whole platform on this profile: %d orders, a fifth with a mishap, then the audit of the stores", e.Times.Orders)}
	if e.Platform == nil {
		return notApplicable(out, "there is no platform to run it with")
	}
	r, err := e.Platform.Orders(ctx, e.Times.Orders, e.Say)
	if err != nil {
		return out, err
	}
	judgeOrders(&out, r)
	return out, nil
}

func judgeOrders(out *Outcome, r OrdersReport) {
	out.Figures = map[string]float64{"placed": float64(r.Placed), "ended": float64(r.Ended), "stuck": float64(r.Stuck),
		"refused": float64(r.Refused), "unexpected": float64(r.Unexpected), "orders_per_second": r.PerSecond,
		"invariants_held": float64(r.Held), "invariants_broken": float64(len(r.Broken))}
	out.Figure = fmt.Sprintf("%d placed, %d ended, %d stuck, %d ended as they must not; %.1f orders/s; %d of %d invariants hold",
		r.Placed, r.Ended, r.Stuck, r.Unexpected, r.PerSecond, r.Held, r.Held+len(r.Broken))
	switch {
	case len(r.Broken) > 0:
		out.Verdict, out.Reason = NotKept, "the audit is red: "+strings.Join(r.Broken, "; ")
	case r.Stuck+r.Unexpected+r.Refused > 0:
		out.Verdict, out.Reason = NotKept, fmt.Sprintf("%d stuck, %d refused, %d ended as they must not", r.Stuck, r.Refused, r.Unexpected)
	default:
		out.Verdict = Kept
	}
}
