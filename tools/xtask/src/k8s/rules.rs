//! Rules for the manifests: what must agree between files that no schema compares.
//!
//! Why: ports, folders, times and the number of nodes are in the node's configuration, in the servers'
//! file and in several manifests; each pair that differs is an outage at the first roll-out.
//! Invariant: the configuration is the one that the node's own program prints.
//! Not here: schemas (kubernetes-validate), whether it runs (`python/pods.py`).

use anyhow::{Context, Result, ensure};
use grandstand_harness::nats;
use serde_json::{Value, json};

/// What of a machine of 2 GB the pods on it may have; the rest is the kernel's and the kubelet's.
const MACHINE_MB_MAX: u64 = 1_536;

/// A closed connection lingers, and a process ends.
const AFTER_DRAIN_MS: u64 = 5_000;

/// For each dotted key its value and source.
pub(super) type Settings = Value;

/// Rendered manifests.
#[derive(Clone)]
pub(super) struct Manifests(pub(super) Vec<Value>);

impl Manifests {
    pub(super) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |manifest| manifest["kind"] == kind)
    }

    pub(super) fn named<'a>(&'a self, kind: &'a str, name: &str) -> Option<&'a Value> {
        self.all(kind).find(|manifest| manifest["metadata"]["name"] == name)
    }

    fn replicas(&self, set: &str) -> u64 {
        self.named("StatefulSet", set).map_or(0, |set| set["spec"]["replicas"].as_u64().unwrap_or(0))
    }

    /// The variables of each pod whose program is the node.
    pub(super) fn environments(&self) -> Result<Vec<Vec<(String, String)>>> {
        let mut all = Vec::new();
        for owner in self.all("StatefulSet").chain(self.all("Job")) {
            let name = text(&owner["metadata"]["name"]);
            let container = container(owner);
            if container["name"] != "grandstand" {
                continue;
            }
            for index in 0..self.replicas(name).max(1) {
                let mut variables = Vec::new();
                for source in list(&container["envFrom"]) {
                    let map = text(&source["configMapRef"]["name"]);
                    let map = self.named("ConfigMap", map).with_context(|| format!("no ConfigMap {map}"))?;
                    let data = map["data"].as_object().context("data")?;
                    variables.extend(data.iter().map(|(name, value)| (name.clone(), text(value).to_owned())));
                }
                for variable in list(&container["env"]) {
                    let value = match text(&variable["valueFrom"]["fieldRef"]["fieldPath"]) {
                        "" => text(&variable["value"]).to_owned(),
                        "metadata.name" => format!("{name}-{index}"),
                        _ => index.to_string(),
                    };
                    variables.push((text(&variable["name"]).to_owned(), value));
                }
                all.push(variables);
            }
        }
        Ok(all)
    }

    /// The file that a pod of the nodes finds at a path, from a ConfigMap.
    pub(super) fn file_at(&self, path: &str) -> Result<&str> {
        let set = self.named("StatefulSet", "grandstand").context("no StatefulSet grandstand")?;
        let (folder, file) = path.rsplit_once('/').context("a path")?;
        let mount = mount_of(container(set), path).filter(|mount| mount["mountPath"] == folder);
        let mount = mount.with_context(|| format!("nothing is mounted at {folder}"))?;
        let volume = volume_of(set, mount).context("the mount's volume")?;
        let map = text(&volume["configMap"]["name"]);
        let map = self.named("ConfigMap", map).with_context(|| format!("no ConfigMap {map}"))?;
        map["data"][file].as_str().with_context(|| format!("no {file} in it"))
    }
}

/// Everything that is wrong.
pub(super) fn faults(manifests: &Manifests, settings: &[Settings]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for owner in manifests.all("StatefulSet").chain(manifests.all("Job")) {
        closed(owner, &mut faults);
        probes(owner, &mut faults);
        volumes(manifests, owner, &mut faults);
    }
    services(manifests, &mut faults);
    let set = manifests.named("StatefulSet", "grandstand");
    if let (Some(set), Some(first)) = (set, settings.first()) {
        node(set, first, &mut faults);
    }
    if set.is_some() && manifests.named("StatefulSet", "grandstand-nats").is_some() {
        cluster(manifests, settings, &mut faults);
    }
    faults.0
}

struct Faults(Vec<String>);

impl Faults {
    fn unless(&mut self, holds: bool, fault: impl Into<String>) {
        if !holds {
            self.0.push(fault.into());
        }
    }
}

/// No root, no capability, nothing of Kubernetes in the pod, a bounded memory, and an image that does not
/// change under its name.
fn closed(owner: &Value, faults: &mut Faults) {
    let (name, pod, container) = (text(&owner["metadata"]["name"]), pod(owner), container(owner));
    let security = &container["securityContext"];
    for (what, is, right) in [
        ("runAsNonRoot", &pod["securityContext"]["runAsNonRoot"], json!(true)),
        ("seccompProfile", &pod["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault")),
        ("automountServiceAccountToken", &pod["automountServiceAccountToken"], json!(false)),
        ("enableServiceLinks", &pod["enableServiceLinks"], json!(false)),
        ("readOnlyRootFilesystem", &security["readOnlyRootFilesystem"], json!(true)),
        ("allowPrivilegeEscalation", &security["allowPrivilegeEscalation"], json!(false)),
        ("capabilities.drop", &security["capabilities"]["drop"], json!(["ALL"])),
    ] {
        faults.unless(*is == right, format!("{name}: {what} is {is}, not {right}"));
    }
    let fs_group = &pod["securityContext"]["fsGroup"];
    faults.unless(
        *fs_group == pod["securityContext"]["runAsGroup"],
        format!("{name}: fsGroup is not runAsGroup"),
    );
    faults.unless(
        bytes(&container["resources"]["limits"]["memory"]) > 0,
        format!("{name}: no limit of memory"),
    );
    let image = text(&container["image"]);
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    faults.unless(!["", "latest"].contains(&tag), format!("{name}: image {image} names no version"));
}

/// Each probe asks a port that the container has.
fn probes(owner: &Value, faults: &mut Faults) {
    let (name, container) = (text(&owner["metadata"]["name"]), container(owner));
    if owner["kind"] == "Job" {
        return;
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &container[probe]["httpGet"]["port"];
        let has = list(&container["ports"]).any(|port| port["name"] == *asked && port["protocol"] == "TCP");
        faults.unless(has, format!("{name}: {probe} asks port {asked}, which the container does not have"));
    }
}

/// Each mount has its volume, and each ConfigMap is there.
fn volumes(manifests: &Manifests, owner: &Value, faults: &mut Faults) {
    let name = text(&owner["metadata"]["name"]);
    for mount in list(&container(owner)["volumeMounts"]) {
        let Some(volume) = volume_of(owner, mount) else {
            faults.unless(false, format!("{name}: no volume {}", mount["name"]));
            continue;
        };
        if let Some(map) = volume["configMap"]["name"].as_str() {
            faults.unless(manifests.named("ConfigMap", map).is_some(), format!("{name}: no ConfigMap {map}"));
        }
        let secret = volume.get("secret").is_some();
        faults.unless(
            !secret || volume["secret"]["defaultMode"] == 0o440,
            format!("{name}: a secret that others read"),
        );
    }
}

/// Each service selects pods that have its ports, and each policy names such ports.
fn services(manifests: &Manifests, faults: &mut Faults) {
    let ports_of = |app: &str| manifests.named("StatefulSet", app).map(|set| &container(set)["ports"]);
    let has = |app: &str, wanted: &Value, protocol: &Value| {
        ports_of(app)
            .is_some_and(|ports| list(ports).any(|p| p["name"] == *wanted && p["protocol"] == *protocol))
    };
    for service in manifests.all("Service") {
        let (name, selector) = (text(&service["metadata"]["name"]), &service["spec"]["selector"]);
        let app = selector["app.kubernetes.io/name"].as_str().map(str::to_owned);
        let pod = text(&selector["statefulset.kubernetes.io/pod-name"]).rsplit_once('-');
        if let Some((set, index)) = pod {
            let is_there = index.parse::<u64>().is_ok_and(|index| index < manifests.replicas(set));
            faults.unless(is_there, format!("service {name}: there is no pod {set}-{index}"));
        }
        let app = app.or(pod.map(|(set, _)| set.to_owned())).unwrap_or_default();
        for port in list(&service["spec"]["ports"]) {
            let holds = has(&app, &port["targetPort"], &port["protocol"]);
            faults.unless(holds, format!("service {name}: its pods have no port {}", port["targetPort"]));
        }
    }
    for policy in manifests.all("NetworkPolicy") {
        let name = text(&policy["metadata"]["name"]);
        let app = text(&policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]);
        for rule in list(&policy["spec"]["ingress"]) {
            for port in list(&rule["ports"]) {
                let holds = has(app, &port["port"], &port["protocol"]);
                faults.unless(holds, format!("policy {name}: its pods have no port {}", port["port"]));
                let is_inner = !["wss", "quic"].contains(&text(&port["port"]));
                faults.unless(
                    !is_inner || list(&rule["from"]).next().is_some(),
                    format!("policy {name}: everybody may reach port {}", port["port"]),
                );
            }
        }
    }
}

/// Ports, files, times and folders of a node's configuration against its pod.
fn node(set: &Value, settings: &Settings, faults: &mut Faults) {
    let (pod, container) = (pod(set), container(set));
    let setting = |key: &str| &settings[key]["value"];
    for (key, name, protocol) in
        [("wss.listen", "wss", "TCP"), ("quic.listen", "quic", "UDP"), ("admin.listen", "admin", "TCP")]
    {
        let port =
            list(&container["ports"]).find(|port| port["name"] == name && port["protocol"] == protocol);
        let port = port.map_or(0, |port| port["containerPort"].as_u64().unwrap_or(0));
        let listens = text(setting(key)) == format!("0.0.0.0:{port}");
        faults.unless(listens, format!("{key} is {}, and port {name} of the pod is {port}", setting(key)));
    }
    let is_path = |key: &str| {
        key.ends_with("_file") || ["tls.cert", "tls.key", "log.dir", "log.recorder_dir"].contains(&key)
    };
    for (key, setting) in settings.as_object().into_iter().flatten().filter(|(key, _)| is_path(key)) {
        let path = text(&setting["value"]);
        let is_mounted = path.is_empty() || mount_of(container, path).is_some();
        faults.unless(is_mounted, format!("{key}: nothing is mounted where {path} is"));
    }
    let volume = |key: &str| mount_of(container, text(setting(key))).and_then(|mount| volume_of(set, mount));
    let claim =
        volume("log.dir").map_or(0, |volume| bytes(&volume["spec"]["resources"]["requests"]["storage"]));
    let number = |key: &str| setting(key).as_u64().unwrap_or(0);
    let log =
        (number("log.node_mb") << 20) / 10 * 11 + ((number("log.backup_keep") * number("log.node_mb")) << 20);
    faults
        .unless(claim >= log, format!("the claim of log.dir has {claim} bytes; log and backups need {log}"));
    let recorder = volume("log.recorder_dir").filter(|volume| volume["emptyDir"]["medium"] == "Memory");
    let recorder = recorder.map_or(0, |volume| bytes(&volume["emptyDir"]["sizeLimit"]));
    faults.unless(
        recorder >= number("log.queue_mb") << 21,
        "log.recorder_dir: not twice log.queue_mb in memory",
    );

    let phases =
        ["announce_ms", "spread_ms", "grace_ms", "flush_ms"].map(|phase| number(&format!("drain.{phase}")));
    let drain = phases.iter().sum::<u64>() + AFTER_DRAIN_MS;
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(0) * 1_000;
    faults.unless(
        grace >= drain,
        format!("terminationGracePeriodSeconds is {grace} ms, and a drain takes {drain} ms"),
    );
    let ready = &container["readinessProbe"];
    let [every, times] = ["periodSeconds", "failureThreshold"].map(|key| ready[key].as_u64().unwrap_or(99));
    faults.unless(
        every * times * 1_000 < number("drain.announce_ms"),
        "the readiness probe needs longer than drain.announce_ms to take a node out",
    );
}

/// As many nodes, names, servers and addresses as there are pods, and the servers' file against their pods.
fn cluster(manifests: &Manifests, settings: &[Settings], faults: &mut Faults) {
    let (nodes, servers) = (manifests.replicas("grandstand"), manifests.replicas("grandstand-nats"));
    let set = manifests.named("StatefulSet", "grandstand-nats").expect("asked before");
    let container = container(set);
    faults.unless(
        nodes == servers && nodes == settings.len() as u64,
        format!("{nodes} nodes, {servers} servers"),
    );
    let is_tls = settings[0]["cluster.ca_file"]["value"] != "";
    for (index, settings) in settings.iter().enumerate() {
        let setting = |key: &str| &settings[key]["value"];
        faults.unless(setting("cluster.node") == &json!(index), format!("cluster.node of pod {index}"));
        let count = list(setting("cluster.nodes")).count() as u64;
        faults.unless(count == nodes, format!("cluster.nodes names {count} nodes, and there are {nodes}"));
        let scheme = if is_tls { "tls" } else { "nats" };
        let pod =
            |index| format!("{scheme}://grandstand-nats-{index}.{}:4222", text(&set["spec"]["serviceName"]));
        let right: Vec<String> = (0..servers).map(pod).collect();
        faults
            .unless(setting("cluster.servers") == &json!(right), format!("cluster.servers is not {right:?}"));
    }
    let viewers = |index| {
        let name = format!("grandstand-{index}");
        manifests.named("Service", &name).is_some_and(|service| {
            service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] == *name
                && service["spec"]["externalTrafficPolicy"] == "Local"
        })
    };
    let node = self::container(manifests.named("StatefulSet", "grandstand").expect("asked before"));
    let on_host = list(&node["ports"]).filter(|port| port["hostPort"] == 443).count() == 2;
    faults.unless(on_host != (0..nodes).any(viewers), "nodes have addresses of two kinds, or of none");
    faults.unless(on_host || (0..nodes).all(viewers), "not every node has an address of its own");

    let image = format!("nats:{}", nats::VERSION);
    faults.unless(
        container["image"] == *image,
        format!("the servers' image is not {image}, which the tests run"),
    );
    let file = list(&pod(set)["volumes"]).find_map(|volume| volume["configMap"]["name"].as_str());
    let file = file.and_then(|name| manifests.named("ConfigMap", name));
    let file = file.map_or("", |map| text(&map["data"]["nats-server.conf"]));
    for (name, line) in
        [("nodes", "\nlisten: 0.0.0.0:"), ("routes", "\n  listen: 0.0.0.0:"), ("health", "\nhttp: 0.0.0.0:")]
    {
        let port = list(&container["ports"]).find(|port| port["name"] == name);
        let port = port.map_or(0, |port| port["containerPort"].as_u64().unwrap_or(0));
        faults.unless(
            file.contains(&format!("{line}{port}\n")),
            format!("port {name} is not the one of nats-server.conf"),
        );
    }
    faults.unless(file.contains("sync_interval: always"), "the servers do not sync what they acknowledge");
    let store = file.split_once("max_file: ").and_then(|(_, rest)| rest.split_once("GB"));
    let store =
        store.map_or(u64::MAX, |(gb, _)| gb.parse::<u64>().unwrap_or(u64::MAX >> 30).saturating_mul(1 << 30));
    let claim = bytes(&set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]);
    faults.unless(claim >= store, format!("the servers' claim has {claim} bytes, and max_file is {store}"));

    let limit = |set: &str| {
        manifests
            .named("StatefulSet", set)
            .map_or(0, |set| bytes(&self::container(set)["resources"]["limits"]["memory"]))
    };
    let (of_node, of_server) = (limit("grandstand"), limit("grandstand-nats"));
    let both = (of_node + of_server) >> 20;
    faults.unless(
        both <= MACHINE_MB_MAX,
        format!("a node and a server may have {both} MB: over {MACHINE_MB_MAX} MB"),
    );
    let collect = list(&container["env"]).find(|variable| variable["name"] == "GOMEMLIMIT");
    let collect = collect.map_or(0, |variable| bytes(&json!(text(&variable["value"]).trim_end_matches('B'))));
    faults.unless(
        collect > 0 && collect * 4 <= of_server * 3,
        "GOMEMLIMIT is not below three quarters of the servers' memory",
    );
    for name in ["grandstand", "grandstand-nats"] {
        let budget =
            manifests.named("PodDisruptionBudget", name).map(|budget| &budget["spec"]["maxUnavailable"]);
        faults
            .unless(budget == Some(&json!(1)), format!("{name}: more than one pod may be evicted at a time"));
    }
}

/// Besides what makes it one of a cluster, a node is the same in both overlays.
pub(super) fn same_but_for_the_cluster(one: &Manifests, three: &Manifests) -> Result<()> {
    let pod_of = |manifests: &Manifests| {
        let set = manifests.named("StatefulSet", "grandstand").context("no StatefulSet grandstand")?;
        Ok::<Value, anyhow::Error>(set["spec"]["template"].clone())
    };
    let (one, mut three) = (pod_of(one)?, pod_of(three)?);
    let pod = three["spec"].as_object_mut().context("a pod")?;
    pod.remove("affinity");
    let without = |list: &mut Value, name: &str| {
        list.as_array_mut().into_iter().for_each(|list| list.retain(|entry| entry["name"] != name));
    };
    without(&mut pod["volumes"], "nats");
    let container = pod["containers"][0].as_object_mut().context("a container")?;
    container.remove("envFrom");
    without(&mut container["env"], "GRANDSTAND_CLUSTER_NODE");
    without(&mut container["volumeMounts"], "nats");
    ensure!(one == three, "the overlays differ in more than the cluster:\n{one:#}\n{three:#}");
    Ok(())
}

fn pod(owner: &Value) -> &Value {
    &owner["spec"]["template"]["spec"]
}

fn container(owner: &Value) -> &Value {
    &pod(owner)["containers"][0]
}

fn mount_of<'a>(container: &'a Value, path: &str) -> Option<&'a Value> {
    let holds = |mount: &&Value| {
        path.strip_prefix(text(&mount["mountPath"]))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    list(&container["volumeMounts"]).filter(holds).max_by_key(|mount| text(&mount["mountPath"]).len())
}

/// The volume, or the claim, of a mount.
fn volume_of<'a>(owner: &'a Value, mount: &Value) -> Option<&'a Value> {
    let claim =
        list(&owner["spec"]["volumeClaimTemplates"]).find(|claim| claim["metadata"]["name"] == mount["name"]);
    claim.or_else(|| list(&pod(owner)["volumes"]).find(|volume| volume["name"] == mount["name"]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `160Mi`, `1Gi`; 0 for anything else.
fn bytes(value: &Value) -> u64 {
    let text = text(value);
    let parse = |unit: &str, shift: u32| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? << shift);
    parse("Mi", 20).or_else(|| parse("Gi", 30)).unwrap_or(0)
}
