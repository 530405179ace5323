// Package calls tests one service calling another through two real sidecars with the policies of
// components/resiliency: what is repeated and what is not, when a call is given up, and what the caller's own breaker
// makes of it. The callee is a handler that counts. It is tests only.
package calls
