//go:build inbox_forgets

package inbox

// forgets has events take effect without a receipt: the audit must notice that the inbox does not know them.
const forgets = true
