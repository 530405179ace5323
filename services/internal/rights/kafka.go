package rights

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// Kafka is a broker with users that show themselves by SCRAM-SHA-256.
type Kafka struct {
	Addr      string            // host:port
	Passwords map[string]string // by user, Admin's among them
	Topics    []broker.Topic
	Replicas  int16 // of each topic that is made
	Grants    []Grant
}

// scramIterations is what RFC 7677 asks for at least. More would cost the broker at every connection, and the passwords
// are long and random.
const scramIterations = 4096

// Ensure makes what is missing.
func (k Kafka) Ensure(ctx context.Context) error {
	admin, err := k.client(Admin)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.Ping(ctx); err != nil {
		return fmt.Errorf("kafka at %s: %w", k.Addr, err)
	}
	if err := broker.CreateTopicsBy(ctx, admin, k.Topics, k.Replicas); err != nil {
		return fmt.Errorf("kafka at %s: %w", k.Addr, err)
	}
	if err := k.ensureACLs(ctx, admin); err != nil {
		return fmt.Errorf("kafka at %s: rights: %w", k.Addr, err)
	}
	for _, g := range k.Grants {
		if err := k.ensureUser(ctx, admin, g.User); err != nil {
			return fmt.Errorf("kafka at %s: user %s: %w", k.Addr, g.User, err)
		}
	}
	return nil
}

func (k Kafka) client(user string) (*kgo.Client, error) {
	password, ok := k.Passwords[user]
	if !ok {
		return nil, fmt.Errorf("no password is known for the user %s of Kafka: add it to the secret", user)
	}
	return kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.ClientID("dishmesh-rights"), kgo.DialTimeout(5*time.Second),
		kgo.RetryTimeout(0), kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
}

// ensureUser makes a user, or gives it its password, unless that is good already: which can only be told by using it.
func (k Kafka) ensureUser(ctx context.Context, admin *kgo.Client, user string) error {
	probe, err := k.client(user)
	if err != nil {
		return err
	}
	defer probe.Close()
	there, err := hasUser(ctx, admin, user)
	if err != nil {
		return err
	}
	if there {
		if err := probe.Ping(ctx); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			return err
		}
	}
	salt := make([]byte, 24)
	_, _ = rand.Read(salt) // never fails, see crypto/rand.Read
	salted, err := pbkdf2.Key(sha256.New, k.Passwords[user], salt, scramIterations, sha256.Size)
	if err != nil {
		return err
	}
	const scramSHA256 = 1 // KIP-554
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	up := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	up.Name, up.Mechanism, up.Iterations, up.Salt, up.SaltedPassword = user, scramSHA256, scramIterations, salt, salted
	req.Upsertions = append(req.Upsertions, up)
	resp, err := req.RequestWith(ctx, admin)
	if err != nil {
		return err
	}
	for _, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

func hasUser(ctx context.Context, admin *kgo.Client, user string) (bool, error) {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	one := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
	one.Name = user
	req.Users = append(req.Users, one)
	resp, err := req.RequestWith(ctx, admin)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return false, err
	}
	for _, r := range resp.Results {
		switch err := kerr.ErrorForCode(r.ErrorCode); {
		case errors.Is(err, kerr.ResourceNotFound):
		case err != nil:
			return false, err
		case r.User == user && len(r.CredentialInfos) > 0:
			return true, nil
		}
	}
	return false, nil
}

// acl is one rule of Kafka's authorizer.
type acl struct {
	kind      kmsg.ACLResourceType
	name      string
	pattern   kmsg.ACLResourcePatternType
	principal string
	operation kmsg.ACLOperation
}

// acls are the rules that the grants come to. Writing and reading imply describing.
func (k Kafka) acls() map[acl]bool {
	want := map[acl]bool{}
	for _, g := range k.Grants {
		user := "User:" + g.User
		for _, t := range g.Write {
			want[acl{kmsg.ACLResourceTypeTopic, t, kmsg.ACLResourcePatternTypeLiteral, user, kmsg.ACLOperationWrite}] = true
		}
		for _, t := range g.Read {
			want[acl{kmsg.ACLResourceTypeTopic, t, kmsg.ACLResourcePatternTypeLiteral, user, kmsg.ACLOperationRead}] = true
		}
		if len(g.Read) > 0 {
			pattern := kmsg.ACLResourcePatternTypeLiteral
			if g.GroupPrefix {
				pattern = kmsg.ACLResourcePatternTypePrefixed
			}
			want[acl{kmsg.ACLResourceTypeGroup, g.Group, pattern, user, kmsg.ACLOperationRead}] = true
		}
	}
	return want
}

// ensureACLs makes the rules be those that are declared, no more and no less.
func (k Kafka) ensureACLs(ctx context.Context, admin *kgo.Client) error {
	all := kmsg.NewPtrDescribeACLsRequest()
	all.ResourceType, all.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	all.Operation, all.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	have, err := all.RequestWith(ctx, admin)
	if err == nil {
		err = kerr.ErrorForCode(have.ErrorCode)
	}
	if err != nil {
		return err
	}
	missing := k.acls()
	drop := kmsg.NewPtrDeleteACLsRequest()
	for _, r := range have.Resources {
		for _, a := range r.ACLs {
			is := acl{r.ResourceType, r.ResourceName, r.ResourcePatternType, a.Principal, a.Operation}
			if missing[is] && a.PermissionType == kmsg.ACLPermissionTypeAllow && a.Host == "*" {
				delete(missing, is)
				continue
			}
			f := kmsg.NewDeleteACLsRequestFilter()
			f.ResourceType, f.ResourceName, f.ResourcePatternType = r.ResourceType, &r.ResourceName, r.ResourcePatternType
			f.Principal, f.Host, f.Operation, f.PermissionType = &a.Principal, &a.Host, a.Operation, a.PermissionType
			drop.Filters = append(drop.Filters, f)
		}
	}
	create := kmsg.NewPtrCreateACLsRequest()
	for a := range missing {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = a.kind, a.name, a.pattern
		c.Principal, c.Host, c.Operation, c.PermissionType = a.principal, "*", a.operation, kmsg.ACLPermissionTypeAllow
		create.Creations = append(create.Creations, c)
	}
	if len(create.Creations) > 0 {
		resp, err := create.RequestWith(ctx, admin)
		if err != nil {
			return err
		}
		for _, r := range resp.Results {
			if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
				return err
			}
		}
	}
	if len(drop.Filters) > 0 {
		resp, err := drop.RequestWith(ctx, admin)
		if err != nil {
			return err
		}
		for _, r := range resp.Results {
			if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
