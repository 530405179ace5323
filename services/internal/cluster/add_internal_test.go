package cluster

import (
	"errors"
	"testing"
)

func TestFindAddition(t *testing.T) {
	a, err := FindAddition("keda")
	if err != nil || a.Namespace != "keda" {
		t.Errorf("got %+v, %v", a, err)
	}
	_, err = FindAddition("kedas")
	checkError(t, err, `"kedas" can't be added: choose of keda`)
}

func TestAddWantsACluster(t *testing.T) {
	c, run := newFake(t, fakeMachine{}, answers{})
	if err := c.Add(t.Context(), Additions()[0]); !errors.Is(err, ErrNone) || len(run.ran) > 0 {
		t.Errorf("%v after %q, want that there is no cluster, and nothing was run", err, run.ran)
	}
}
