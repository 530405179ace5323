// Payment runs the payment service: the double-entry ledger, and the way to the card acquirer.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/payment"
)

func main() { run.Main("payment", payment.New) }
