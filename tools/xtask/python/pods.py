"""Pods without Kubernetes: runs rendered manifests in namespaces of this machine, as a kubelet would. `cargo xtask k8s`
calls it as root; k8s/README.md says what it proves.

Each pod has a network of its own on a bridge, the names of headless services, its volumes at their places, a root that
cannot be written, its user, no capabilities and no new privileges. Probes are asked from outside. Three servers and three
nodes start, the job makes the cluster, each pod becomes ready, and each is then stopped and started as an update does.
Not here: schedulers, load balancers, network policies, limits of memory."""

import argparse, os, pathlib, secrets, shutil, signal, subprocess, sys, time, urllib.request
import yaml

SUBNET = "10.213.7."
READY_WITHIN_S = 90
SYSTEM = ["usr", "lib", "lib64", "bin"]


def sh(*words, **more):
    subprocess.run([str(word) for word in words], check=True, **more)


def value(manifests, kind, name):
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


class Pod:
    """One pod of a StatefulSet or a Job: its network, its root and its one process."""

    def __init__(self, world, owner, index=None):
        self.world, self.spec = world, owner["spec"]["template"]["spec"]
        self.owner = owner
        self.index = index
        self.name = owner["metadata"]["name"] + ("" if index is None else f"-{index}")
        self.container = self.spec["containers"][0]
        self.home = world.home / self.name
        self.process = None
        self.ip = SUBNET + str(10 + len(world.pods))
        self.log = world.home / f"{self.name}.log"
        net, (host, pod) = self.name, (f"h{len(world.pods)}", f"p{len(world.pods)}")
        world.pods.append(self)
        sh("ip", "netns", "add", net)
        sh("ip", "link", "add", host, "type", "veth", "peer", "name", pod)
        sh("ip", "link", "set", host, "master", "pods", "up")
        sh("ip", "link", "set", pod, "netns", net)
        sh("ip", "-n", net, "addr", "add", f"{self.ip}/24", "dev", pod)
        sh("ip", "-n", net, "link", "set", pod, "up")
        sh("ip", "-n", net, "link", "set", "lo", "up")
        security = self.spec["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] and security["fsGroup"]
        self.group = security["fsGroup"]
        self.rights = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups",
                       f"--reuid={security['runAsUser']}", f"--regid={self.group}"]
        for claim in owner["spec"].get("volumeClaimTemplates", []):
            self.group_folder(self.home / "claims" / claim["metadata"]["name"])

    def group_folder(self, path):
        path.mkdir(parents=True)
        os.chown(path, 0, self.group)
        path.chmod(0o2775)

    def volume(self, name):
        """The folder that the kubelet would mount, and whether it is in memory."""
        claim = self.home / "claims" / name
        if claim.exists():
            return claim
        volume = next(v for v in self.spec["volumes"] if v["name"] == name)
        path = self.home / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            files = value(self.world.manifests, "ConfigMap", volume["configMap"]["name"])["data"]
            mode = 0o644
        elif "secret" in volume:
            files = self.world.secrets[volume["secret"]["secretName"]]
            if "items" in volume["secret"]:
                files = {item["path"]: files[item["key"]] for item in volume["secret"]["items"]}
            mode = volume["secret"]["defaultMode"]
        else:
            assert volume["emptyDir"]["medium"] == "Memory"
            if not os.path.ismount(path):
                sh("mount", "-t", "tmpfs", "-o", "size=" + volume["emptyDir"]["sizeLimit"].rstrip("i"), "tmpfs", path)
                os.chown(path, 0, self.group)
                path.chmod(0o2777)
            return path
        for file, text in files.items():
            (path / file).write_text(text)
            os.chown(path / file, 0, self.group)
            (path / file).chmod(mode)
        return path

    def environment(self):
        facts = {"metadata.name": self.name, "metadata.labels['apps.kubernetes.io/pod-index']": str(self.index)}
        env = {}
        for source in self.container.get("envFrom", []):
            env |= value(self.world.manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in self.container.get("env", []):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                env[variable["name"]] = facts[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                of = source["secretKeyRef"]
                env[variable["name"]] = self.world.secrets[of["name"]][of["key"]]
            else:
                env[variable["name"]] = variable["value"]
        return env

    def start(self):
        root = self.home / "root"
        root.mkdir(parents=True, exist_ok=True)
        program = self.world.programs[self.container["image"].split(":")[0].split("/")[-1]]
        security = self.container["securityContext"]
        assert security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"]
        assert security["allowPrivilegeEscalation"] is False
        steps = ["set -e", f"mount -t tmpfs tmpfs {root}", f"cd {root}", "mkdir -p etc/ssl dev proc tmp app"]
        steps += [f"mkdir {d}; mount --rbind /{d} {d}; mount -o remount,bind,ro {d}" for d in SYSTEM if os.path.isdir("/" + d)]
        steps += ["mount -t proc proc proc", "mount --rbind /dev dev", "mount -t tmpfs -o size=64m,mode=1777 tmpfs dev/shm"]
        steps += [f"touch app/program; mount --bind {program} app/program", "cp -L /etc/ld.so.cache etc/"]
        steps += [f"cp {self.world.home}/hosts etc/hosts", "echo 'hosts: files' > etc/nsswitch.conf"]
        for mount in self.container["volumeMounts"]:
            at = "." + mount["mountPath"]
            steps += [f"mkdir -p {at}", f"mount --bind {self.volume(mount['name'])} {at}"]
            steps += [f"mount -o remount,bind,ro {at}"] if mount.get("readOnly") else []
        steps += ["mount -o remount,ro .", f'exec chroot . /usr/bin/{" ".join(self.rights)} /app/program "$@"']
        words = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--propagation", "private", "sh", "-c"]
        self.begun = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*words, "\n".join(steps), "pod", *self.container.get("args", [])],
                env=self.environment() | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def holds(self, probe):
        get = self.container[probe]["httpGet"]
        port = next(p["containerPort"] for p in self.container["ports"] if p["name"] == get["port"])
        try:
            within = self.container[probe]["timeoutSeconds"]
            return urllib.request.urlopen(f"http://{self.ip}:{port}{get['path']}", timeout=within).status == 200
        except OSError:
            return False

    def wait(self, probe):
        """Until the probe holds; returns how many seconds after its start."""
        while not self.holds(probe):
            if self.process.poll() is not None or time.monotonic() > self.begun + READY_WITHIN_S:
                tail = self.log.read_text(errors="replace").splitlines()[-12:]
                sys.exit("\n".join([f"error: {self.name}: {probe} failed for {READY_WITHIN_S} s, or it ended:", *tail]))
            time.sleep(0.1)
        return time.monotonic() - self.begun

    def exec(self, *words):
        """What `kubectl exec` does: a second process in the pod."""
        inside = ["nsenter", "--target", self.process.pid, "--mount", "--net", "--root", "/usr/bin/" + self.rights[0]]
        sh(*inside, *self.rights[1:], "/app/program", *words, env=self.environment(), cwd="/", stdout=subprocess.DEVNULL)

    def stop(self):
        """SIGTERM, as the kubelet sends it; the pod must end by itself within its grace."""
        begun, grace = time.monotonic(), self.spec["terminationGracePeriodSeconds"]
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            sys.exit(f"error: {self.name} did not end within terminationGracePeriodSeconds, {grace} s")
        # The servers' own code after a signal is 1.
        if code != 0 and self.container["name"] == "grandstand":
            sys.exit(f"error: {self.name} ended with {code} after SIGTERM")
        return time.monotonic() - begun


class World:
    def __init__(self, options):
        self.manifests = [m for file in options.manifests for m in yaml.safe_load_all(open(file)) if m]
        self.programs = {"grandstand": options.node, "nats": options.nats}
        self.home = pathlib.Path(options.home).absolute()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.pods, self.secrets = [], self.make_secrets()
        sh("mkdir", "-p", "/run/netns")
        sh("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        sh("ip", "link", "add", "pods", "type", "bridge")
        sh("ip", "addr", "add", SUBNET + "1/24", "dev", "pods")
        sh("ip", "link", "set", "pods", "up")
        sh("ip", "link", "set", "lo", "up")

    def make_secrets(self):
        """What k8s/README.md tells an operator to make."""
        servers = [f"DNS:grandstand-nats-{number}.grandstand-nats" for number in range(3)]
        names = ",".join([*servers, "DNS:a.example.org"])
        request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=grandstand"
        sh(*request.split(), "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE",
           "-keyout", self.home / "tls.key", "-out", self.home / "tls.crt", stderr=subprocess.DEVNULL)
        pair = {name: (self.home / name).read_text() for name in ["tls.crt", "tls.key"]}
        return {
            "grandstand-keys": {n: secrets.token_hex(32) + "\n" for n in ["admin.key", "tickets.key", "token.key"]},
            "grandstand-tls": pair,
            "grandstand-nats": {n: "gs-" + secrets.token_hex(24) for n in ["password", "system-password"]},
            "grandstand-nats-tls": pair | {"ca.crt": pair["tls.crt"]},
        }

    def replicas(self, name):
        owner = [m for m in self.manifests if m["kind"] == "StatefulSet" and m["metadata"]["name"] == name]
        return [Pod(self, o, index) for o in owner for index in range(o["spec"]["replicas"])]

    def write_hosts(self):
        names = [f"{pod.ip} {pod.name}.{pod.owner['spec'].get('serviceName', 'none')}" for pod in self.pods]
        (self.home / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))


def main():
    parser = argparse.ArgumentParser()
    for name in ["--node", "--nats", "--home"]:
        parser.add_argument(name, required=True)
    parser.add_argument("manifests", nargs="+")
    world = World(parser.parse_args())
    servers, nodes = world.replicas("grandstand-nats"), world.replicas("grandstand")
    jobs = [Pod(world, m) for m in world.manifests if m["kind"] == "Job"]
    world.write_hosts()
    for server in servers:
        server.start()
    for server in servers:
        server.wait("readinessProbe")
    for job in jobs:
        job.start()
        if job.process.wait(120) != 0:
            sys.exit("error: the job failed:\n" + job.log.read_text())
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait("startupProbe")
        print(f"{node.name}: ready {node.wait('readinessProbe'):.1f} s after its start", flush=True)
        if servers:
            node.exec("cluster", "status")
            node.exec("cluster", "check")
    for pod in [*servers, *nodes]:
        assert pod.holds("livenessProbe"), pod.name
    # An update goes from the last pod to the first, and waits for each.
    for pod in [*reversed(servers), *reversed(nodes)]:
        took = pod.stop()
        pod.start()
        print(f"{pod.name}: ended {took:.1f} s after SIGTERM, ready {pod.wait('readinessProbe'):.1f} s after its start", flush=True)
        for other in [*servers, *nodes]:
            if not other.holds("livenessProbe"):
                sys.exit(f"error: {other.name} is not alive while {pod.name} was replaced")
    for pod in world.pods:
        if pod.process.poll() is None:
            pod.process.kill()


main()
