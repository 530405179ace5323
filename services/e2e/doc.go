// Package e2e holds the end-to-end tests. They run the real platform (ten services, each beside its own Dapr sidecar,
// with mTLS, a broker, workflows and the simulated city) and drive it as its users would: by the dishmesh command and
// by the public HTTP API, and by kill -9. They prove that
//
//   - every way in which an order can go ends in its own terminal state, with the right exit code and the right money,
//     and the audit is green afterwards (outcomes_test.go);
//   - every kind of bad input is answered with its documented problem and every faulty field is named, at the real
//     gateway (badinput_test.go, accounts_test.go);
//   - orders can be polled cheaply and followed live, with nothing lost between two connections (follow_test.go);
//   - 50 orders at once all end, and so do those under way when the order service and its sidecar, or every process of
//     the platform, is killed (load_test.go, crash_test.go);
//   - one platform holds a data folder, wrong flags are refused in one line, and `down` leaves nothing behind
//     (lifecycle_test.go, and every test that stops a platform);
//   - an event that can't be taken in is tried on its schedule and becomes a dead letter, which is shown, edited and
//     replayed; the whole history of an order may come five times more without one more charge, notification or stage
//     (deadletters_test.go);
//   - the audit goes red when the acquirer's idempotency keys are switched off (mutation_test.go).
//
// The tests share one platform, which TestMain starts and stops; none relies on another, nor on their order. With
// -short those are skipped that kill everything or need a platform of their own. DISHMESH_BIN names a folder of
// programs to test instead of building them. The data folder is kept when a test fails.
package e2e
