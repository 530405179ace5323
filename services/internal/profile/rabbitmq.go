package profile

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ is one RabbitMQ node with the Erlang port mapper of its own.
type RabbitMQ struct{}

// rabbitUser is the user that sidecars log in as.
const rabbitUser = "dishmesh"

// LiveQueueExpiry is how long a queue of live updates outlives its gateway. The component cannot say it, because its
// exchanges are shared with those that must stay.
const LiveQueueExpiry = 5 * time.Minute

// Name implements Server.
func (RabbitMQ) Name() string { return "rabbitmq" }

// Title implements Server.
func (RabbitMQ) Title() string { return "RabbitMQ" }

// Vars implements Server.
func (RabbitMQ) Vars() []string { return []string{"RABBITMQ_URL"} }

// rabbitServer finds the server. Debian's on the PATH changes to a user and folders of its own; the real one is below
// lib.
func rabbitServer() (string, bool) {
	for _, pattern := range []string{"/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server", "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[len(found)-1], true
		}
	}
	return findProgram("rabbitmq-server")
}

// Probe implements Server.
func (RabbitMQ) Probe(context.Context) Found {
	path, ok := rabbitServer()
	if _, epmd := findProgram("epmd", "/usr/lib/erlang/bin"); !ok || !epmd {
		return Found{Mend: install("rabbitmq", "rabbitmq-server")}
	}
	return Found{Here: true, Version: filepath.Base(filepath.Dir(filepath.Dir(path))), Where: path}
}

// Ports implements Server.
func (RabbitMQ) Ports() []string {
	return []string{"rabbitmq", "rabbitmq/epmd", "rabbitmq/distribution"}
}

// Env implements Server.
func (RabbitMQ) Env(at Site) []string {
	return []string{"RABBITMQ_URL=" + rabbitURL(at)}
}

func rabbitURL(at Site) string {
	return "amqp://" + rabbitUser + ":" + at.Password + "@" + local(at.Ports["rabbitmq"]) + "/"
}

// Processes implements Server.
func (RabbitMQ) Processes(at Site) []Process {
	path, _ := rabbitServer() // Probe has found both
	epmd, _ := findProgram("epmd", "/usr/lib/erlang/bin")
	mapper := strconv.Itoa(at.Ports["rabbitmq/epmd"])
	distribution := strconv.Itoa(at.Ports["rabbitmq/distribution"])
	in := func(elem ...string) string { return filepath.Join(append([]string{at.Dir}, elem...)...) }
	env := []string{
		"HOME=" + at.Dir, // of the cookie
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + mapper,
		"RABBITMQ_NODENAME=dishmesh@localhost", "RABBITMQ_DIST_PORT=" + distribution,
		"RABBITMQ_CONFIG_FILE=" + in("rabbitmq.conf"), "RABBITMQ_CONF_ENV_FILE=" + in("no-env.conf"),
		"RABBITMQ_MNESIA_BASE=" + in("mnesia"), "RABBITMQ_LOG_BASE=" + in("log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("enabled_plugins"), "RABBITMQ_GENERATED_CONFIG_DIR=" + in("config"),
		"RABBITMQ_PID_FILE=" + in("rabbitmq.pid"),
		// Threads that look for work would take the cores from two dozen other processes.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
		// The script then becomes the server instead of waiting for it, so that a signal meets the right process.
		"detached=true",
	}
	return []Process{
		{
			Name: "rabbitmq-epmd", Path: epmd, Args: []string{"-address", "127.0.0.1", "-port", mapper}, Dir: at.Dir,
			Prepare: func(context.Context) error { return os.MkdirAll(at.Dir, 0o700) },
			Ready:   dialReady(local(at.Ports["rabbitmq/epmd"])), ReadyWithin: 10 * time.Second, Grace: time.Second,
		},
		{
			Name: "rabbitmq", Path: path, Env: env, Dir: at.Dir,
			Prepare: func(context.Context) error { return prepareRabbit(at, in) },
			Ready:   func(context.Context) error { return pingRabbit(at) },
			Started: func(context.Context) error { return declareRabbit(at) },
			// The Erlang machine loads for some seconds on two cores.
			ReadyWithin: 3 * time.Minute, Grace: 15 * time.Second,
		},
	}
}

func prepareRabbit(at Site, in func(...string) string) error {
	definitions := map[string]any{
		"vhosts":      []any{map[string]any{"name": "/"}},
		"users":       []any{map[string]any{"name": rabbitUser, "password": at.Password, "tags": "administrator"}},
		"permissions": []any{map[string]any{"user": rabbitUser, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}},
		"policies": []any{map[string]any{"vhost": "/", "name": "live-queues-expire", "pattern": "^gateway-", "apply-to": "queues",
			"definition": map[string]any{"expires": LiveQueueExpiry.Milliseconds()}, "priority": 1}},
	}
	b, err := json.Marshal(definitions)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"definitions.json": string(b),
		"enabled_plugins":  "[].\n",
		"rabbitmq.conf": fmt.Sprintf(`# Written at every start.
listeners.tcp.1 = 127.0.0.1:%d
load_definitions = %s
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 256MB
`, at.Ports["rabbitmq"], in("definitions.json")),
	} {
		if err := writeConfig(in(name), content, nil); err != nil {
			return err
		}
	}
	return nil
}

func pingRabbit(at Site) error {
	conn, err := amqp.DialConfig(rabbitURL(at), amqp.Config{Dial: amqp.DefaultDial(2 * time.Second)})
	if err != nil {
		return err
	}
	return conn.Close()
}

// declareRabbit makes the exchange of every topic, and the queue of every app that subscribes to it, as Dapr's
// component would at the first use (pubsub/rabbitmq): an exchange drops what no queue is bound for, so an event that
// is published before its subscriber has started for the first time would vanish.
func declareRabbit(at Site) error {
	conn, err := amqp.DialConfig(rabbitURL(at), amqp.Config{Dial: amqp.DefaultDial(2 * time.Second)})
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for _, t := range at.Topics {
		if err := ch.ExchangeDeclare(t.Name, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
			return fmt.Errorf("make the exchange %s: %w", t.Name, err)
		}
	}
	for _, s := range at.Subscriptions {
		if s.PubSub != "events" {
			continue // live updates begin with the gateway
		}
		for _, app := range s.Apps {
			queue := app + "-" + s.Topic
			if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic}); err != nil {
				return fmt.Errorf("make the queue %s: %w", queue, err)
			}
			if err := ch.QueueBind(queue, "", s.Topic, false, nil); err != nil {
				return fmt.Errorf("bind the queue %s: %w", queue, err)
			}
		}
	}
	return nil
}
