// Command notification tells customers by e-mail, SMS and push what becomes of their orders.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/notification"
)

func main() { run.Main(notification.Name, notification.New) }
