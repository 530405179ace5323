package kubectl

import (
	"context"
	"strings"
	"time"
)

// List is what kubectl get gives of several objects.
type List[T any] struct {
	Items []T `json:"items"`
}

// Meta is what every object has.
type Meta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	CreationTimestamp time.Time         `json:"creationTimestamp"`
}

// Pod is what is read of a pod.
type Pod struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		NodeName            string           `json:"nodeName"`
		ServiceAccountName  string           `json:"serviceAccountName"`
		Containers          []ContainerSpec  `json:"containers"`
		InitContainers      []ContainerSpec  `json:"initContainers"`
		EphemeralContainers []ContainerSpec  `json:"ephemeralContainers"`
		TopologySpread      []map[string]any `json:"topologySpreadConstraints"`
	} `json:"spec"`
	Status struct {
		Phase      string      `json:"phase"`
		PodIP      string      `json:"podIP"`
		StartTime  time.Time   `json:"startTime"`
		Conditions []Condition `json:"conditions"`
		// The three kinds of containers.
		Containers []ContainerStatus `json:"containerStatuses"`
		Init       []ContainerStatus `json:"initContainerStatuses"`
		Ephemeral  []ContainerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

// ContainerSpec is what is read of a container that is wanted.
type ContainerSpec struct {
	Name  string `json:"name"`
	Image string `json:"image"`
	Env   []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
}

// ContainerStatus is what is read of a container that is there.
type ContainerStatus struct {
	Name         string `json:"name"`
	ContainerID  string `json:"containerID"` // containerd://…
	RestartCount int    `json:"restartCount"`
	Ready        bool   `json:"ready"`
	State        struct {
		Running *struct {
			StartedAt time.Time `json:"startedAt"`
		} `json:"running"`
		Waiting *struct {
			Reason string `json:"reason"`
		} `json:"waiting"`
	} `json:"state"`
}

// Condition is one thing that a controller says of an object.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Holds tells whether a condition of a kind is true.
func Holds(conditions []Condition, kind string) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == "True"
		}
	}
	return false
}

// Ready tells whether a pod takes requests and is not on its way out.
func (p Pod) Ready() bool {
	return p.Metadata.DeletionTimestamp == nil && Holds(p.Status.Conditions, "Ready")
}

// Restarts is how often containers of the pod were started anew.
func (p Pod) Restarts() (n int) {
	for _, c := range p.Status.Containers {
		n += c.RestartCount
	}
	for _, c := range p.Status.Init { // sidecars, in their newer form
		n += c.RestartCount
	}
	return n
}

// Container finds a container of any kind that is there, by name.
func (p Pod) Container(name string) (ContainerStatus, bool) {
	for _, list := range [][]ContainerStatus{p.Status.Containers, p.Status.Init, p.Status.Ephemeral} {
		for _, c := range list {
			if c.Name == name {
				return c, true
			}
		}
	}
	return ContainerStatus{}, false
}

// Pods lists the pods that a label selector picks, "" for all, in a namespace. Those on their way out are left out.
func (c Cluster) Pods(ctx context.Context, namespace, selector string) ([]Pod, error) {
	args := []string{"pods", "-n", namespace}
	if selector != "" {
		args = append(args, "-l", selector)
	}
	var list List[Pod]
	if err := c.Get(ctx, &list, args...); err != nil {
		return nil, err
	}
	var pods []Pod
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp == nil && p.Status.Phase != "Succeeded" && p.Status.Phase != "Failed" {
			pods = append(pods, p)
		}
	}
	return pods, nil
}

// Deployment is what is read of a Deployment or StatefulSet.
type Deployment struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		Replicas int `json:"replicas"`
		Template struct {
			Metadata Meta `json:"metadata"`
			Spec     struct {
				Containers []ContainerSpec `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		Replicas        int `json:"replicas"`
		ReadyReplicas   int `json:"readyReplicas"`
		UpdatedReplicas int `json:"updatedReplicas"`
	} `json:"status"`
}

// Image is the image of a container of the Deployment.
func (d Deployment) Image(container string) string {
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

// Ready tells whether every replica that is wanted is there.
func (d Deployment) Ready() bool {
	return d.Status.ReadyReplicas == d.Spec.Replicas && d.Status.UpdatedReplicas == d.Spec.Replicas && d.Status.Replicas == d.Spec.Replicas
}

// Autoscaler is what is read of a HorizontalPodAutoscaler.
type Autoscaler struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		MinReplicas int `json:"minReplicas"`
		MaxReplicas int `json:"maxReplicas"`
		Behavior    struct {
			ScaleDown struct {
				StabilizationWindowSeconds int `json:"stabilizationWindowSeconds"`
			} `json:"scaleDown"`
		} `json:"behavior"`
	} `json:"spec"`
	Status struct {
		CurrentReplicas int `json:"currentReplicas"`
		DesiredReplicas int `json:"desiredReplicas"`
		CurrentMetrics  []struct {
			Resource          measured `json:"resource"`
			ContainerResource measured `json:"containerResource"`
			External          measured `json:"external"`
		} `json:"currentMetrics"`
		Conditions []Condition `json:"conditions"`
	} `json:"status"`
}

type measured struct {
	Name    string `json:"name"`
	Current struct {
		AverageValue string `json:"averageValue"`
	} `json:"current"`
}

// Measured is what the autoscaler goes by, on average of the pods, such as "cpu 412m".
func (a Autoscaler) Measured() string {
	for _, m := range a.Status.CurrentMetrics {
		for _, v := range []measured{m.ContainerResource, m.Resource, m.External} {
			if v.Current.AverageValue != "" {
				return strings.TrimSpace(v.Name + " " + v.Current.AverageValue)
			}
		}
	}
	return "nothing yet"
}

// Node is what is read of a node.
type Node struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		Unschedulable bool `json:"unschedulable"`
		Taints        []struct {
			Key    string `json:"key"`
			Effect string `json:"effect"`
		} `json:"taints"`
	} `json:"spec"`
	Status struct {
		Conditions []Condition       `json:"conditions"`
		Capacity   map[string]string `json:"capacity"`
		NodeInfo   struct {
			KubeletVersion          string `json:"kubeletVersion"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
			OSImage                 string `json:"osImage"`
			KernelVersion           string `json:"kernelVersion"`
			BootID                  string `json:"bootID"`
		} `json:"nodeInfo"`
		Images []struct {
			Names     []string `json:"names"`
			SizeBytes int64    `json:"sizeBytes"`
		} `json:"images"`
	} `json:"status"`
}

// Takes tells whether pods are placed on the node.
func (n Node) Takes() bool {
	if n.Spec.Unschedulable || !Holds(n.Status.Conditions, "Ready") {
		return false
	}
	for _, t := range n.Spec.Taints {
		if t.Effect == "NoSchedule" || t.Effect == "NoExecute" {
			return false
		}
	}
	return true
}

// Nodes lists the nodes.
func (c Cluster) Nodes(ctx context.Context) ([]Node, error) {
	var list List[Node]
	err := c.Get(ctx, &list, "nodes")
	return list.Items, err
}

// RuntimeID is a container's id as the container runtime knows it.
func (s ContainerStatus) RuntimeID() string {
	_, id, _ := strings.Cut(s.ContainerID, "://")
	return id
}
