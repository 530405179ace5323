//go:build !inbox_forgets

package inbox

// forgets says that receipts are not written: see the tag inbox_forgets.
const forgets = false
