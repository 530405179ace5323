package profile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// Kafka is Apache Kafka as one node, broker and controller in one (KRaft), from the jars of Maven Central.
type Kafka struct{}

// KafkaVersion is the version that components/servers.sh fetches.
const KafkaVersion = "4.1.1"

// Name implements Server.
func (Kafka) Name() string { return "kafka" }

// Title implements Server.
func (Kafka) Title() string { return "Apache Kafka" }

// Vars implements Server.
func (Kafka) Vars() []string { return []string{"KAFKA_BROKERS"} }

// kafkaLibs is the folder of the jars: $KAFKA_HOME/libs, or the one that components/servers.sh fills.
func kafkaLibs() (string, error) {
	if home := os.Getenv("KAFKA_HOME"); home != "" {
		return filepath.Join(home, "libs"), nil
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(cache) {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("no cache folder: set XDG_CACHE_HOME to a writable folder: %w", err)
		}
	}
	return filepath.Join(cache, "dishmesh", "servers", "kafka-"+KafkaVersion, "libs"), nil
}

// Probe implements Server.
func (Kafka) Probe(context.Context) Found {
	java, ok := findProgram("java")
	if !ok {
		return Found{Mend: install("kafka", "Java 17 (openjdk-17-jre-headless)")}
	}
	libs, err := kafkaLibs()
	if err != nil {
		return Found{Mend: err.Error()}
	}
	jars, err := filepath.Glob(filepath.Join(libs, "kafka_2.13-*.jar"))
	if err != nil || len(jars) == 0 {
		return Found{Mend: install("kafka", "") + ", or set KAFKA_HOME"}
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), "kafka_2.13-"), ".jar")
	return Found{Here: true, Version: "Kafka " + version, Where: libs + " by " + java}
}

// Ports implements Server.
func (Kafka) Ports() []string { return []string{"kafka", "kafka/controller"} }

// Env implements Server.
func (Kafka) Env(at Site) []string { return []string{"KAFKA_BROKERS=" + local(at.Ports["kafka"])} }

// Processes implements Server.
func (Kafka) Processes(at Site) []Process {
	java, _ := findProgram("java")
	libs, _ := kafkaLibs() // Probe has found both
	cp := filepath.Join(libs, "*")
	config := filepath.Join(at.Dir, "server.properties")
	addr := local(at.Ports["kafka"])
	return []Process{{
		Name: "kafka", Path: java,
		Args: []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
			"-Dlog4j2.configurationFile=" + filepath.Join(at.Dir, "log4j2.properties"), "-cp", cp, "kafka.Kafka", config},
		Prepare: func(ctx context.Context) error { return prepareKafka(ctx, at, java, cp, config) },
		Ready:   func(ctx context.Context) error { return broker.Ping(ctx, addr) },
		Started: func(ctx context.Context) error { return broker.CreateTopics(ctx, addr, at.Topics) },
		// A JVM on a busy machine; an orderly end moves leadership and flushes the logs.
		ReadyWithin: 60 * time.Second, Grace: 10 * time.Second,
	}}
}

// prepareKafka writes the configuration of this start and formats the data folder before the first one.
func prepareKafka(ctx context.Context, at Site, java, cp, config string) error {
	if err := os.MkdirAll(at.Dir, 0o700); err != nil {
		return err
	}
	flush := ""
	if at.Sync {
		flush = "log.flush.interval.messages=1\n"
	}
	addr, controller := local(at.Ports["kafka"]), local(at.Ports["kafka/controller"])
	data := filepath.Join(at.Dir, "data")
	properties := `# Written at every start. One node, on the loopback interface; a write is acknowledged when it is in the page cache.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@` + controller + `
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://` + addr + `,CONTROLLER://` + controller + `
advertised.listeners=PLAINTEXT://` + addr + `
log.dirs=` + data + `
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.hours=168
# Groups that nobody is in any more, such as those of the gateway's live updates, go after a day.
offsets.retention.minutes=1440
` + flush
	if err := os.WriteFile(config, []byte(properties), 0o600); err != nil {
		return err
	}
	logging := `appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
`
	if err := os.WriteFile(filepath.Join(at.Dir, "log4j2.properties"), []byte(logging), 0o600); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// The cluster id is 16 bytes in base64; which ones does not matter on one node.
	if err := runOnce(ctx, nil, at.Dir, nil, java, "-Xmx256m", "-cp", cp, "kafka.tools.StorageTool", "format", "-t", "ZGlzaG1lc2gtY2x1c3RlcgA", "-c", config); err != nil {
		return fmt.Errorf("format the data folder of Kafka: %w", err)
	}
	return nil
}
