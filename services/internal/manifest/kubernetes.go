package manifest

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationvalidation "k8s.io/kube-aggregator/pkg/apis/apiregistration/validation"
	apipod "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	admissionvalidation "k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacvalidation "k8s.io/kubernetes/pkg/apis/rbac/validation"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingvalidation "k8s.io/kubernetes/pkg/apis/scheduling/validation"
	"k8s.io/kubernetes/pkg/apis/storage"
	storagevalidation "k8s.io/kubernetes/pkg/apis/storage/validation"
)

// validate does with one of Kubernetes' own resources what its API server does: defaults, then its validation.
func (s *Schema) validate(d Document, obj runtime.Object) []string {
	copied := obj.DeepCopyObject()
	if m, err := meta.Accessor(copied); err == nil {
		switch {
		case !namespaced(d.Kind):
			m.SetNamespace("") // so does the API server; kustomize gives one to kinds that it takes for namespaced
		case m.GetNamespace() == "":
			m.SetNamespace(metav1.NamespaceDefault) // the overlay gives it one
		}
	}
	s.scheme.Default(copied)
	internal, err := s.scheme.UnsafeConvertToVersion(copied, runtime.InternalGroupVersioner)
	if err != nil {
		return []string{d.At("") + err.Error()}
	}
	errs, known := validateInternal(internal)
	if !known {
		return []string{fmt.Sprintf("%sno rules are known for this kind: add its validation to services/internal/manifest/kubernetes.go", d.At("kind"))}
	}
	return fieldErrors(d, errs)
}

func namespaced(kind string) bool {
	switch kind {
	case "Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "StorageClass", "PersistentVolume", "APIService":
		return false
	}
	return true
}

func validateInternal(obj runtime.Object) (field.ErrorList, bool) {
	switch o := obj.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, apipod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)), true
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(o, apipod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)), true
	case *apps.DaemonSet:
		return appsvalidation.ValidateDaemonSet(o, apipod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)), true
	case *batch.Job:
		generate(o)
		opts := batchvalidation.JobValidationOptions{PodValidationOptions: apipod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)}
		return batchvalidation.ValidateJob(o, opts), true
	case *batch.CronJob:
		return batchvalidation.ValidateCronJobCreate(o, apipod.GetValidationOptionsFromPodTemplate(&o.Spec.JobTemplate.Spec.Template, nil)), true
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{}), true
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}), true
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.ValidationOptionsForNetworking(o, nil)), true
	case *core.Pod:
		return corevalidation.ValidatePodCreate(o, apipod.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, nil, &o.ObjectMeta, nil)), true
	case *core.Service:
		if o.Spec.ClusterIP != "" { // the API server fills in the list
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		}
		return corevalidation.ValidateServiceCreate(o), true
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), true
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o), true
	case *core.Secret:
		return corevalidation.ValidateSecret(o), true
	case *core.Namespace:
		return corevalidation.ValidateNamespace(o), true
	case *core.LimitRange:
		return corevalidation.ValidateLimitRange(o), true
	case *core.ResourceQuota:
		return corevalidation.ValidateResourceQuota(o), true
	case *core.PersistentVolumeClaim:
		return corevalidation.ValidatePersistentVolumeClaim(o, corevalidation.ValidationOptionsForPersistentVolumeClaimCreate()), true
	case *core.PersistentVolume:
		return corevalidation.ValidatePersistentVolume(o, corevalidation.ValidationOptionsForPersistentVolume(o, nil)), true
	case *admissionregistration.ValidatingAdmissionPolicy:
		return admissionvalidation.ValidateValidatingAdmissionPolicy(o), true
	case *admissionregistration.ValidatingAdmissionPolicyBinding:
		return admissionvalidation.ValidateValidatingAdmissionPolicyBinding(o), true
	case *rbac.Role:
		return rbacvalidation.ValidateRole(o), true
	case *rbac.RoleBinding:
		return rbacvalidation.ValidateRoleBinding(o), true
	case *rbac.ClusterRole:
		return rbacvalidation.ValidateClusterRole(o, rbacvalidation.ClusterRoleValidationOptions{}), true
	case *rbac.ClusterRoleBinding:
		return rbacvalidation.ValidateClusterRoleBinding(o), true
	case *scheduling.PriorityClass:
		return schedulingvalidation.ValidatePriorityClass(o), true
	case *apiregistration.APIService:
		return apiregistrationvalidation.ValidateAPIService(o), true
	case *storage.StorageClass:
		return storagevalidation.ValidateStorageClass(o), true
	}
	return nil, false
}

// generate gives a job the selector that the API server makes up for it before it validates.
func generate(job *batch.Job) {
	const uid = "generated"
	job.UID = uid
	job.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batch.LegacyControllerUidLabel: uid}}
	labels := map[string]string{batch.LegacyControllerUidLabel: uid, batch.LegacyJobNameLabel: job.Name, batch.ControllerUidLabel: uid, batch.JobNameLabel: job.Name}
	maps.Copy(labels, job.Spec.Template.Labels)
	job.Spec.Template.Labels = labels
}
