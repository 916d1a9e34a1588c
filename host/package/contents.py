"""The list of what a package is made of, as CycloneDX 1.5 has it: the crates that `cargo tree` names, with licences and checksums."""
import datetime, json, os, re, subprocess, sys

version = sys.argv[1]
tree = subprocess.run(
    ["cargo", "tree", "--locked", "--package", "tidegate", "--no-default-features", "--features", "kafka,postgres,s3",
     "--edges", "normal", "--prefix", "none", "--no-dedupe", "--format", "{p}|{l}|{r}"],
    check=True, capture_output=True, text=True).stdout
lock = open("Cargo.lock").read()
sums = {(name, number): digest for name, number, digest in re.findall(
    r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"', lock)}
components = {}
for line in tree.splitlines():
    crate, licence, repository = line.split("|")
    name, number = crate.split()[:2]
    number = number.lstrip("v")
    if name == "tidegate":
        continue
    component = {
        "type": "library", "bom-ref": f"{name}@{number}", "name": name, "version": number,
        "purl": f"pkg:cargo/{name}@{number}", "licenses": [{"expression": licence.replace("/", " OR ")}] if licence else [],
    }
    if (name, number) in sums:
        component["hashes"] = [{"alg": "SHA-256", "content": sums[name, number]}]
    if repository:
        component["externalReferences"] = [{"type": "vcs", "url": repository}]
    components[name, number] = component
moment = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
json.dump({
    "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
    "metadata": {
        "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "component": {"type": "application", "bom-ref": "tidegate", "name": "tidegate", "version": version,
                      "licenses": [{"expression": "Apache-2.0 OR MIT"}]},
    },
    "components": [components[key] for key in sorted(components)],
}, sys.stdout, indent=1)
print()
