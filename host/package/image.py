"""An OCI image layout in a tar, of the files of a package and the libraries that its binary is linked to: no daemon is needed for it,
and `podman load`, `skopeo copy oci-archive:…` and `docker load` take it. The same files make the same bytes."""
import gzip, hashlib, io, json, os, re, subprocess, sys, tarfile

root, libraries, architecture, version, out = sys.argv[1:]
moment = int(os.environ["SOURCE_DATE_EPOCH"])
USER = 65532


def member(name, mode=0o644, owner=0, kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.type, info.size, info.linkname, info.mtime = mode, owner, owner, kind, size, link, moment
    return info


def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked(binary):
    """Paths of the libraries that the binary is linked to, below `libraries`. Debian's cross libraries all lie in `lib`."""
    if libraries == "/":
        words = (line.split() for line in said("ldd", binary).splitlines())
        return [path for path in (next((word for word in line if word.startswith("/")), None) for line in words) if path]
    loader = re.search(r"program interpreter: (\S+)\]", said("readelf", "-l", binary)).group(1)
    paths, open_ends = {loader}, [binary]
    while open_ends:
        for name in re.findall(r"\(NEEDED\).*\[(\S+)\]", said("readelf", "-d", open_ends.pop())):
            path = "/lib/" + name
            if path not in paths:
                paths.add(path)
                open_ends.append(libraries + path)
    return sorted(paths)


def layer():
    files, folders = {}, {}
    for folder in ("etc/tidegate", "usr/bin", "var/lib/tidegate", "var/lib/tidegate-hello", "tmp"):
        folders[folder] = (0o755, 0)
    folders["var/lib/tidegate"], folders["var/lib/tidegate-hello"] = (0o750, USER), (0o750, USER)
    folders["tmp"] = (0o1777, 0)
    for name in ("usr/bin/tidegate", "etc/tidegate/tidegate.toml"):
        files[name] = (open(os.path.join(root, name), "rb").read(), 0o755 if "/bin/" in name else 0o644)
    for path in linked(os.path.join(root, "usr/bin/tidegate")):
        files[path.lstrip("/")] = (open(os.path.join(libraries, path.lstrip("/")), "rb").read(), 0o755)
    roots = "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(roots):
        files[roots.lstrip("/")] = (open(roots, "rb").read(), 0o644)
    files["etc/passwd"] = (f"root:x:0:0::/:/sbin/nologin\ntidegate:x:{USER}:{USER}::/var/lib/tidegate:/sbin/nologin\n".encode(), 0o644)
    files["etc/group"] = (f"root:x:0:\ntidegate:x:{USER}:\n".encode(), 0o644)
    for name in files:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folders.setdefault("/".join(parts[:depth]), (0o755, 0))
    for name in list(folders):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), (0o755, 0))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(folders):
            mode, owner = folders[name]
            tar.addfile(member(name, mode, owner, tarfile.DIRTYPE))
        for name in sorted(files):
            content, mode = files[name]
            tar.addfile(member(name, mode, size=len(content)), io.BytesIO(content))
    return packed.getvalue()


plain = layer()
blobs = {}


def blob(content, kind):
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


config = blob(json.dumps({
    "architecture": architecture, "os": "linux",
    "config": {
        "User": "tidegate", "Entrypoint": ["/usr/bin/tidegate"], "Cmd": ["run", "--data-dir", "/var/lib/tidegate"],
        "Volumes": {"/var/lib/tidegate": {}}, "WorkingDir": "/var/lib/tidegate", "StopSignal": "SIGTERM",
        "Labels": {"org.opencontainers.image.title": "tidegate", "org.opencontainers.image.version": version,
                   "org.opencontainers.image.licenses": "Apache-2.0 OR MIT"},
    },
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
}, sort_keys=True).encode(), "application/vnd.oci.image.config.v1+json")
layers = [blob(gzip.compress(plain, 9, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")]
manifest = blob(json.dumps({
    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
}, sort_keys=True).encode(), "application/vnd.oci.image.manifest.v1+json")
manifest["annotations"] = {"org.opencontainers.image.ref.name": f"tidegate:{version}"}
manifest["platform"] = {"architecture": architecture, "os": "linux"}
index = json.dumps({"schemaVersion": 2, "manifests": [manifest]}, sort_keys=True).encode()
with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
    for name in ("blobs", "blobs/sha256"):
        tar.addfile(member(name, 0o755, kind=tarfile.DIRTYPE))
    for name, content in [("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'), ("index.json", index)] + [
            (f"blobs/sha256/{digest}", blobs[digest]) for digest in sorted(blobs)]:
        tar.addfile(member(name, size=len(content)), io.BytesIO(content))
