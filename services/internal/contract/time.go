package contract

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Timestamp is the protobuf form of a time; none for the zero time.
func Timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Time is the inverse of Timestamp, in UTC: where there is no timestamp it is the zero time, not 1970.
func Time(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
