package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// leadership hands the scheduler's work from a killed scheduler to the next one.
//
// A scheduler works while it holds a key in its own etcd, under a lease of 20 s. One that was killed could not give
// the key back, so the next would stand still until the lease has run out: no workflow moves, and sidecars that start
// wait for it. The supervisor knows that the old one is dead, because it starts the new one, and removes its key. It
// remembers the revision at which the key was made and removes that one only, never the key of a living scheduler.
type leadership struct {
	// etcd is the client address of the scheduler's etcd.
	etcd string
	// record is the file that remembers the key.
	record string
}

// leadershipPrefix is where Dapr's scheduler (go-etcd-cron) keeps its keys.
const leadershipPrefix = "dapr/leadership/"

// leaderKey is a key and the revision that made it, which never comes again.
type leaderKey struct {
	Key            string `json:"key"`
	CreateRevision int64  `json:"create_revision"`
}

// takeOver removes the key of the scheduler before, waits for that of the one that runs, and remembers it. It is one
// try: an error means to come again.
func (l *leadership) takeOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := grpc.NewClient(l.etcd, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		return err
	}
	defer conn.Close()
	var old leaderKey
	// A missing or broken record only means that the lease of a killed scheduler has to run out.
	_ = readJSON(l.record, &old)
	if old.Key != "" {
		if err := deleteKey(ctx, conn, old); err != nil {
			return err
		}
	}
	now, err := readLeader(ctx, conn)
	if err != nil {
		return err
	}
	if now == old {
		return errors.New("the scheduler has not taken over yet")
	}
	return writeJSON(l.record, now, 0o600)
}

// readLeader asks etcd for the key of the scheduler that leads.
func readLeader(ctx context.Context, conn *grpc.ClientConn) (leaderKey, error) {
	end := []byte(leadershipPrefix)
	end[len(end)-1]++ // the first key after all with the prefix
	req := bytesField(nil, 1, []byte(leadershipPrefix))
	req = bytesField(req, 2, end)
	var resp []byte
	if err := conn.Invoke(ctx, "/etcdserverpb.KV/Range", req, &resp); err != nil {
		return leaderKey{}, err
	}
	var found leaderKey
	err := eachField(resp, func(num protowire.Number, kv []byte, _ uint64) error {
		if num != 2 { // RangeResponse.kvs
			return nil
		}
		return eachField(kv, func(num protowire.Number, b []byte, n uint64) error {
			switch num {
			case 1: // KeyValue.key
				found.Key = string(b)
			case 2: // KeyValue.create_revision
				found.CreateRevision = int64(n)
			}
			return nil
		})
	})
	if err == nil && found.Key == "" {
		err = errors.New("no scheduler leads yet")
	}
	return found, err
}

// deleteKey removes the key if it is still the one that was made at that revision.
func deleteKey(ctx context.Context, conn *grpc.ClientConn, k leaderKey) error {
	const equal, createRevision = 0, 1 // Compare.CompareResult and Compare.CompareTarget
	compare := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), equal)
	compare = protowire.AppendVarint(protowire.AppendTag(compare, 2, protowire.VarintType), createRevision)
	compare = bytesField(compare, 3, []byte(k.Key))
	compare = protowire.AppendVarint(protowire.AppendTag(compare, 5, protowire.VarintType), uint64(k.CreateRevision))
	operation := bytesField(nil, 3, bytesField(nil, 1, []byte(k.Key))) // RequestOp.request_delete_range
	txn := bytesField(bytesField(nil, 1, compare), 2, operation)       // TxnRequest.compare and .success
	var resp []byte
	return conn.Invoke(ctx, "/etcdserverpb.KV/Txn", txn, &resp)
}

func bytesField(to []byte, num protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, num, protowire.BytesType), value)
}

// eachField walks over the fields of a protobuf message.
func eachField(msg []byte, do func(num protowire.Number, b []byte, n uint64) error) error {
	for len(msg) > 0 {
		num, typ, size := protowire.ConsumeTag(msg)
		if size < 0 {
			return protowire.ParseError(size)
		}
		msg = msg[size:]
		var b []byte
		var n uint64
		switch typ {
		case protowire.BytesType:
			b, size = protowire.ConsumeBytes(msg)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(msg)
		default:
			size = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		msg = msg[size:]
		if err := do(num, b, n); err != nil {
			return err
		}
	}
	return nil
}

// rawCodec passes messages through as they are: two calls do not need etcd's client library.
type rawCodec struct{}

// Marshal implements encoding.Codec.
func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return b, nil
}

// Unmarshal implements encoding.Codec.
func (rawCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", v)
	}
	*b = append([]byte(nil), data...)
	return nil
}

// Name implements encoding.Codec: to the server these are protobuf messages.
func (rawCodec) Name() string { return "proto" }
