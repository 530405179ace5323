package rig

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// Embedded is the profile that needs nothing but this machine. self is the dishmesh program, which is its broker.
func Embedded(home platform.Home, data, self string) (Profile, error) {
	p, err := (&ports{}).several(2)
	if err != nil {
		return Profile{}, err
	}
	broker := &embeddedBroker{process{name: "broker", path: self, dir: data, log: filepath.Join(data, "logs", "broker.log"),
		args: []string{"broker", "--data", filepath.Join(data, "broker"), "--port", strconv.Itoa(p[0]), "--health-port", strconv.Itoa(p[1]),
			"--subscriptions", home.Components("subscriptions")},
		ready: httpReady(fmt.Sprintf("http://%s/healthz", local(p[1]))), within: 30 * time.Second, grace: 2 * time.Second, spawn: newSpawner()}}
	return Profile{Name: "embedded", Resources: []string{home.Components("embedded")}, Env: map[string]string{
		"KAFKA_BROKERS": local(p[0]), "ACQUIRER_URL": "http://127.0.0.1:9", "SMS_URL": "http://127.0.0.1:9", "PUSH_URL": "http://127.0.0.1:9",
		"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9",
	}, Events: broker}, nil
}

type embeddedBroker struct{ process }

// Name implements conformance.Server.
func (b *embeddedBroker) Name() string { return "embedded broker" }

// Version implements Server.
func (b *embeddedBroker) Version() string { return "franz-go kfake" }

// Stop implements Server.
func (b *embeddedBroker) Stop() { b.stop() }
