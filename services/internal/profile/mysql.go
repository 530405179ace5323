package profile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// MySQL is one MariaDB server. Dapr's component makes a database for each store.
type MySQL struct{}

// Name implements Server.
func (MySQL) Name() string { return "mysql" }

// Title implements Server.
func (MySQL) Title() string { return "MariaDB" }

// Vars implements Server.
func (MySQL) Vars() []string { return []string{"MYSQL_DSN"} }

func mysqlPrograms() (server, install string, ok bool) {
	server, ok1 := findProgram("mariadbd", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")
	install, ok2 := findProgram("mariadb-install-db", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
	return server, install, ok1 && ok2
}

// Probe implements Server.
func (MySQL) Probe(ctx context.Context) Found {
	path, _, ok := mysqlPrograms()
	if !ok {
		return Found{Mend: install("mysql", "mariadb-server")}
	}
	return Found{Here: true, Version: versionOf(ctx, path, "--version"), Where: path}
}

// Ports implements Server.
func (MySQL) Ports() []string { return []string{"mysql"} }

const mysqlUser = "dishmesh"

// Env implements Server.
func (MySQL) Env(at Site) []string {
	return []string{"MYSQL_DSN=" + MySQLDSN(at.Ports["mysql"], at.Password, "")}
}

// MySQLDSN is how a database of the server at a site is reached. Dapr puts the name of the database after the slash
// itself, which therefore must be the only one.
func MySQLDSN(port int, password, database string) string {
	return mysqlUser + ":" + password + "@tcp(" + local(port) + ")/" + database + "?timeout=5s&interpolateParams=true"
}

// Processes implements Server.
func (MySQL) Processes(at Site) []Process {
	path, installer, _ := mysqlPrograms() // Probe has found them
	data := filepath.Join(at.Dir, "data")
	first := filepath.Join(at.Dir, "first.sql")
	common := []string{"--no-defaults", "--datadir=" + data}
	if os.Geteuid() == 0 {
		common = append(common, "--user=root")
	}
	args := append([]string{}, common...)
	args = append(args, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(at.Ports["mysql"]), "--socket="+filepath.Join(at.Dir, "s"),
		"--pid-file="+filepath.Join(at.Dir, "pid"), "--init-file="+first, "--skip-name-resolve", "--skip-log-bin", "--max-connections=400",
		// Keys differ by case; creating a key must not lock its neighbours (two creations would deadlock).
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin", "--transaction-isolation=READ-COMMITTED",
		"--innodb-buffer-pool-size=128M", "--performance-schema=OFF")
	return []Process{{
		Name: "mysql", Path: path, Args: args, Dir: at.Dir,
		Prepare: func(ctx context.Context) error {
			if err := os.MkdirAll(at.Dir, 0o700); err != nil {
				return err
			}
			// The server runs these at every start.
			users := ""
			for _, host := range []string{"127.0.0.1", "localhost"} {
				who := "'" + mysqlUser + "'@'" + host + "'"
				users += fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO %s;\n", who, at.Password, who)
			}
			if err := writeConfig(first, users, nil); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(data, "mysql")); !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return runOnce(ctx, nil, at.Dir, nil, installer, append(common, "--auth-root-authentication-method=socket", "--skip-test-db")...)
		},
		Ready: func(ctx context.Context) error {
			db, err := sql.Open("mysql", MySQLDSN(at.Ports["mysql"], at.Password, ""))
			if err != nil {
				return err
			}
			defer db.Close()
			return db.PingContext(ctx)
		},
		ReadyWithin: 60 * time.Second, Grace: 10 * time.Second,
	}}
}
