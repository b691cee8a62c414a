//! Planted faults: manifests that are wrong on purpose, which the rules must notice.
//!
//! Why: a rule that reads the wrong field never fails, and nobody would see it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

use super::{Build, rules, settings};

/// In which build, of which manifest, what is set to what, and a word of the fault that must be found.
fn planted() -> Vec<(&'static str, [&'static str; 2], &'static str, Value, &'static str)> {
    const NODE: [&str; 2] = ["StatefulSet", "grandstand"];
    const SERVER: [&str; 2] = ["StatefulSet", "grandstand-nats"];
    const POD: &str = "/spec/template/spec";
    macro_rules! pod {
        ($at:literal) => {
            concat!("/spec/template/spec/containers/0", $at)
        };
    }
    let root = "/spec/template/spec/securityContext/runAsNonRoot";
    let grace = "/spec/template/spec/terminationGracePeriodSeconds";
    assert!(root.starts_with(POD) && grace.starts_with(POD));
    vec![
        ("one", NODE, root, json!(false), "runAsNonRoot"),
        ("one", NODE, grace, json!(30), "a drain takes"),
        ("one", NODE, "/spec/template/spec/volumes/0/configMap/name", json!("other"), "no ConfigMap"),
        ("one", NODE, "/spec/template/spec/volumes/1/secret/defaultMode", json!(0o444), "others read"),
        ("one", NODE, "/spec/template/spec/volumes/3/emptyDir/sizeLimit", json!("64Mi"), "recorder_dir"),
        ("one", NODE, "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", json!("20Gi"), "claim"),
        ("one", NODE, pod!("/image"), json!("grandstand:latest"), "names no version"),
        ("one", NODE, pod!("/ports/0/containerPort"), json!(7444), "wss.listen"),
        ("one", NODE, pod!("/ports/1/protocol"), json!("TCP"), "quic"),
        ("one", NODE, pod!("/ports/2/name"), json!("metrics"), "asks port"),
        ("one", NODE, pod!("/readinessProbe/failureThreshold"), json!(5), "announce_ms"),
        ("one", NODE, pod!("/resources/limits"), json!({}), "limit of memory"),
        ("one", NODE, pod!("/volumeMounts/3/mountPath"), json!("/data"), "nothing is mounted"),
        ("one", ["Service", "grandstand-0"], "/spec/ports/1/protocol", json!("TCP"), "no port"),
        ("one", ["NetworkPolicy", "grandstand"], "/spec/ingress/1/from", json!([]), "everybody"),
        (
            "init",
            ["Job", "grandstand-init"],
            pod!("/securityContext/readOnlyRootFilesystem"),
            json!(false),
            "readOnly",
        ),
        ("three", NODE, "/spec/replicas", json!(2), "2 nodes, 3 servers"),
        ("three", NODE, pod!("/resources/limits/memory"), json!("2Gi"), "over"),
        ("three", SERVER, pod!("/resources/limits/memory"), json!("192Mi"), "GOMEMLIMIT"),
        ("three", SERVER, pod!("/image"), json!("nats:2.10.1"), "servers' image"),
        ("three", SERVER, pod!("/ports/1/containerPort"), json!(6223), "port routes"),
        ("three", SERVER, "/spec/serviceName", json!("nats"), "cluster.servers"),
        (
            "three",
            SERVER,
            "/spec/volumeClaimTemplates/0/spec/resources/requests/storage",
            json!("10Gi"),
            "max_file",
        ),
        ("three", ["Service", "grandstand-2"], "/spec/selector", json!({}), "address of its own"),
        ("three", ["PodDisruptionBudget", "grandstand"], "/spec/maxUnavailable", json!(2), "evicted"),
        ("three-host-port", NODE, pod!("/ports/0/hostPort"), json!(null), "two kinds, or of none"),
    ]
}

/// Each is found.
pub(super) fn all_are_found(node: &Path, builds: &[Build]) -> Result<()> {
    for (build, [kind, name], at, wrong, word) in planted() {
        let what = format!("{build}: {kind} {name}, {at} = {wrong}");
        let mut manifests = builds.iter().find(|b| b.name == build).context("a build")?.manifests.clone();
        let manifest = manifests.0.iter_mut().find(|m| m["kind"] == kind && m["metadata"]["name"] == name);
        let place =
            manifest.and_then(|m| m.pointer_mut(at)).with_context(|| format!("nothing there: {what}"))?;
        ensure!(*place != wrong, "planted, and already so: {what}");
        *place = wrong;
        let found = match settings(node, &manifests) {
            Ok(settings) => rules::faults(&manifests, &settings),
            // A pod without its configuration is refused before the rules.
            Err(error) => vec![format!("{error:#}")],
        };
        ensure!(
            found.iter().any(|fault| fault.contains(word)),
            "planted, and not found: {what}; found {found:?}"
        );
    }
    Ok(())
}
