// Package cluster proves the platform on a real cluster: `make test-cluster` makes one and runs these tests, and they
// write what they saw, with figures, into k8s/PROOF.md. Without a cluster they are skipped and say so.
//
// The tests come from outside, by the ingress, as everybody does; from inside, beside the services and with their
// accounts, by `dishmesh probe`; and from the machine below, which is a container of its own. Each leaves the cluster as
// it found it, and waits for that.
//
//	go test ./services/e2e/cluster -data .dishmesh            all of them, on the cluster of a data folder
//	go test ./services/e2e/cluster -data .dishmesh -run Canary some of them
//	… -keep FILE -proof k8s/PROOF.md                          what was seen by runs of some tests, each of which gave
//	                                                          -keep; it names those that were not run
//
//	subject           file                 tests
//	orders            orders_test.go       TestOrdersThroughTheIngress, TestLoadThroughTheIngress
//	ingress           edge_test.go         TestIngressTLS, TestIngressLimits, TestIngressRateLimit
//	                  tokens_test.go       TestTokens, TestExpiredToken
//	authorization     authorization_test.go TestMutualTLS, TestAuthorization
//	                  foreign_test.go      TestForeignNamespace
//	network           network_test.go      TestNetworkPolicies, TestOutsiders, TestEgress
//	pods              restricted_test.go   TestRestrictedPods
//	canary            canary_test.go       TestCanaryEastWest, TestCanaryNorthSouth, TestMirror
//	                  shared_test.go       TestCanarySharesStateAndEvents
//	faults            faults_test.go       TestFaultsByHeader, TestAbortedCallsAreSurvived, TestDelayedCallsAreSurvived
//	                  outlier_test.go      TestOutlierEjection
//	scaling           scale_test.go        TestAutoscaling
//	                  scale_by_lag_test.go TestScalingByLag
//	change            rollout_test.go      TestRollingUpdates
//	                  workflow_test.go     TestWorkflowCodeChange
//	kills             kills_test.go        TestKilled: pods, sidecars, servers; and by node_test.go kubelet and containerd
//	                  node_test.go         TestDrain
//	broker            broker_test.go       TestBrokerSwapped
//	tracing           trace_test.go        TestTraceOfAnOrder
//	tilt              tilt_test.go         TestTiltCI
//	cost              latency_test.go      TestLatency
//	                  footprint_test.go    TestFootprint
package cluster
