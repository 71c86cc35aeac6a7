"""Files made to attack whoever reads them, put together operation by operation."""

import io
import pickle  # noqa: TID251 - to write what must be refused
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C

GADGETS = """
os.system posix.system nt.system os.popen os.execv subprocess.Popen subprocess.check_output
builtins.eval builtins.exec builtins.compile builtins.getattr builtins.__import__ builtins.open
__builtin__.eval __builtin__.execfile importlib.import_module runpy.run_path
code.InteractiveInterpreter pty.spawn shutil.rmtree ctypes.CDLL operator.attrgetter
operator.methodcaller functools.partial functools.reduce types.FunctionType types.CodeType
pickle.loads _pickle.loads marshal.loads codecs.decode asyncio.create_subprocess_shell
webbrowser.open urllib.request.urlopen socket.create_connection timeit.timeit cProfile.run
profile.run pdb.run bdb.Bdb.run doctest.debug_script trace.Trace pip.main
numpy.testing._private.utils.runstring numpy.f2py.crackfortran.myeval numpy.load torch.load
torch.hub.load torch.jit.load torch.utils.cpp_extension.load torch._dynamo.optimize
torch.serialization.load torch.fx.graph_module.reduce_graph_module joblib.load dill.loads
cloudpickle.loads pandas.read_pickle linecache.getline logging.config.dictConfig
zipimport.zipimporter gc.get_objects sys.settrace site.execsitecustomize ensurepip._run_pip
venv.create distutils.file_util.write_file imaplib.IMAP4_stream
multiprocessing.util.spawnv_passfds io.open _io.FileIO smtplib.SMTP sqlite3.connect
unittest.mock._importer copyreg.add_extension copyreg._reduce_ex _codecs.decode torch.nn.os.system
flcore.servers.serverbase.os.system torch.nn.modules.module.__builtins__.eval
torch.optim.optimizer.functools.partial mini_fl.subprocess.Popen mini_fl.models.sys.modules
mini_fl.server.__init__.__globals__
""".split()  # noqa: SIM905 - a list to read


def text(word: str) -> bytes:
    content = word.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def split(name: str) -> tuple[str, str]:
    """Module and name; where a class hides a module, the module ends before it."""
    module, _, word = name.rpartition(".")
    return module, word


def called(name: str, protocol: int) -> bytes:
    """A pickle that calls the name with a shell command."""
    module, word = split(name)
    argument = text("touch owned") + b"\x85R."
    if protocol < 4:
        return b"\x80\x02" + f"c{module}\n{word}\n".encode() + argument
    return b"\x80\x04" + text(module) + text(word) + b"\x93" + argument


def legacy(body: bytes, keys: bytes = b"\x80\x02].", tail: bytes = b"") -> bytes:
    """A legacy torch file around one pickle."""
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2)
    about = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return head + pickle.dumps(about, 2) + body + keys + tail


def zipped(body: bytes, *, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    """A torch zip around one pickle; in names of entries, __ stands for a slash."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", body)
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


STORAGE = (
    b"((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
)  # what follows is offset, size, stride, requires_grad, hooks


def tensor(offset: bytes, size: bytes, stride: bytes) -> bytes:
    """A pickle of one tensor in a storage of four floats."""
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE
    return head + offset + size + stride + b"\x89ccollections\nOrderedDict\n)RtR."


def strided(offset: bytes, size: bytes, stride: bytes) -> bytes:
    return zipped(tensor(offset, size, stride), archive__data__0=b"\0" * 16)


def _slip() -> bytes:
    return zipped(b"\x80\x02N.", **{"archive__..__..__evil": b"x"})


def _twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/data.pkm", b"\x80\x02N.")
    return file.getvalue().replace(b"data.pkm", b"data.pkl")


def _overlap() -> bytes:
    content = bytearray(zipped(b"\x80\x02N." + b" " * 80, archive__data__0=b"\0" * 16))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)  # the first entry's header
    return bytes(content)


def _twoplace() -> bytes:
    return zipped(b"\x80\x02N.", **{"other__data.pkl": called("os.system", 2)})


NESTED = pickle.dumps(legacy(called("os.system", 2)), 4)[:-1]  # without STOP
LOAD = b"ctorch.storage\n_load_from_bytes\n"

FILES: dict[str, bytes] = {
    **{f"{name}-{p}": called(name, p) for name in GADGETS for p in (2, 4)},
    **{f"legacy-{n}": legacy(called(n, 2)) for n in ("os.system", "builtins.eval")},
    **{f"zip-{n}": zipped(called(n, 2)) for n in ("os.system", "builtins.eval")},
    # a blob in a blob
    "nested": b"\x80\x04" + LOAD + NESTED[2:] + b"\x85R.",
    "nested-deep": b"\x80\x04"
    + LOAD
    + pickle.dumps(legacy(b"\x80\x04" + LOAD + NESTED[2:] + b"\x85R."), 4)[2:-1]
    + b"\x85R.",
    "nested-as-text": b"\x80\x02"
    + LOAD
    + pickle.dumps(legacy(called("os.system", 2)), 2)[2:-1]
    + b"\x85R.",
    "nested-zip": b"\x80\x04" + LOAD + pickle.dumps(zipped(b"\x80\x02N."), 4)[2:-1] + b"\x85R.",
    # chains of names
    "dotted-chain": b"\x80\x04" + text("torch.nn") + text("Module.os.system") + b"\x93.",
    "globals-chain": b"\x80\x04"
    + text("torch.nn")
    + text("Module.__init__.__globals__")
    + b"\x93.",
    "inst": b"\x80\x02(" + text("id") + b"ios\nsystem\n.",
    "obj": b"\x80\x02(cos\nsystem\n" + text("id") + b"o.",
    "newobj": b"\x80\x02csubprocess\nPopen\n" + text("id") + b"\x85\x81.",
    "newobj-ex": b"\x80\x04csubprocess\nPopen\n)}\x92.",
    "name-from-memo": b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x940h\x00h\x01\x93.",
    "build-on-name": b"\x80\x02ctorch\nTensor\n}" + text("x") + b"K\x01sb.",
    "call-what-was-made": b"\x80\x02ctorch.nn\nModule\n)R)R.",
    "call-a-text": b"\x80\x02" + text("os.system") + text("id") + b"\x85R.",
    "reconstructor": b"\x80\x02ccopyreg\n_reconstructor\ncos\nsystem\ncbuiltins\nobject\nNtR.",
    "reconstructor-base": b"\x80\x02ccopyreg\n_reconstructor\n(ctorch.nn\nModule\n"
    b"cbuiltins\ndict\n}tR.",
    "copyreg-newobj": b"\x80\x02ccopyreg\n__newobj__\n(cos\nsystem\n" + text("id") + b"tR.",
    "rebuild-from-type": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n"
    b"(ctorch\nSize\nctorch\nTensor\n)}tR.",
    "encode-other": b"\x80\x02c_codecs\nencode\n" + text("id") + text("zlib") + b"\x86R.",
    # the extension registry, persistent ids, buffers
    **{
        f"ext{n}": b"\x80\x02" + code + b"." for n, code in
        (("1", b"\x82\x01"), ("2", b"\x83\x01\x00"), ("4", b"\x84\x01\x00\x00\x00"))
    },
    "persid": b"\x80\x02P/etc/passwd\n.",
    "binpersid-plain": b"\x80\x02" + text("storage") + b"Q.",
    "binpersid-module": zipped(b"\x80\x02(" + text("module") + b"cos\nsystem\n" * 3 + b"tQ."),
    "persid-other": zipped(b"\x80\x02" + text("/etc/passwd") + b"Q."),
    "persid-type": zipped(
        tensor(b"K\x00", b"K\x01\x85", b"K\x01\x85").replace(b"FloatStorage", b"Size"),
        archive__data__0=b"\0" * 16,
    ),
    "persid-elsewhere": zipped(tensor(b"K\x00", b"K\x01\x85", b"K\x01\x85")),
    "next-buffer": b"\x80\x05\x97.",
    # strides, offsets and sizes beyond the storage
    "stride": strided(b"K\x00", b"K\x02\x85", b"J\xff\xff\xff\x7f\x85"),
    "stride-negative": strided(b"K\x03", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"),
    "offset": strided(b"K\x05", b"K\x01\x85", b"K\x01\x85"),
    "offset-negative": strided(b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85"),
    "size": strided(b"K\x00", b"K\x05\x85", b"K\x01\x85"),
    "size-negative": strided(b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
    "size-huge": strided(b"K\x00", b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85", b"K\x00\x85"),
    "size-of-floats": strided(b"K\x00", b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", b"K\x01\x85"),
    "size-not-strides": strided(b"K\x00", b"K\x02K\x02\x86", b"K\x01\x85"),
    "axes": strided(b"K\x00", b"(" + b"K\x01" * 99 + b"t", b"(" + b"K\x01" * 99 + b"t"),
    "storage-short": zipped(
        tensor(b"K\x00", b"K\x04\x85", b"K\x01\x85"), archive__data__0=b"\0" * 12
    ),
    "storage-negative": zipped(
        tensor(b"K\x00", b"K\x00\x85", b"K\x01\x85").replace(b"K\x04tQ", b"J\xff\xff\xff\xfftQ"),
        archive__data__0=b"",
    ),
    # zips
    "zip-bomb": zipped(b"\x80\x02N." + b"\0" * 10_000_000, compression=zipfile.ZIP_DEFLATED),
    "zip-slip": _slip(),
    "zip-absolute": zipped(b"\x80\x02N.", **{"__etc__passwd": b"x"}),
    "zip-twice": _twice(),
    "zip-overlap": _overlap(),
    "zip-two-pickles": _twoplace(),
    "zip-without-pickle": zipped(b"").replace(b"data.pkl", b"data.pkx"),
    "zip-script": zipped(b"\x80\x02N.", archive__code__a=b"import os"),
    "zip-big-endian": zipped(b"\x80\x02N.", archive__byteorder=b"big"),
    "zip-truncated": zipped(b"\x80\x02N.")[:-30],
    # counts, depth, ends
    "count-huge": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "count-negative": b"\x80\x02T\xff\xff\xff\xffx.",
    "number-huge": b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20) + b".",
    "frame-huge": b"\x80\x04\x95" + b"\xff" * 8 + b"N",
    "digits": b"\x80\x02I" + b"9" * 60_000 + b"\n.",
    "deep-key": b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"Ns.",
    "memo-missing": b"\x80\x02h\x07.",
    "truncated": called("os.system", 2)[:20],
    "trailing": b"\x80\x02N." + called("os.system", 2),
    "no-stop": b"\x80\x02N",
    "empty-stack": b"\x80\x02.",
    "unhashable": b"\x80\x02}]Ns.",
    "legacy-list": legacy(b"\x80\x02N.", b"\x80\x02]" + text("0") + b"a."),
    "legacy-count": legacy(
        tensor(b"K\x00", b"K\x01\x85", b"K\x01\x85").replace(b"K\x04tQ", b"K\x04NtQ"),
        b"\x80\x02]" + text("0") + b"a.",
        struct.pack("<q", 1 << 40),
    ),
    "array-of-objects": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\n)R.",
    "array-shape": pickle.dumps(__import__("numpy").arange(3.0), 4).replace(
        b"K\x03\x85", b"K\x09\x85"
    ),
    "dtype-evil": b"\x80\x02cnumpy\ndtype\n" + text("f4,f4") + b"\x85R.",
    "text": b"import os; os.system('id')\n",
    "empty": b"",
}  # fmt: skip
"""Every file by name; each must be refused with one sentence."""

_UNSAFE = """
legacy-os.system legacy-builtins.eval zip-os.system zip-builtins.eval nested nested-deep
nested-as-text dotted-chain globals-chain inst obj newobj newobj-ex name-from-memo reconstructor
copyreg-newobj ext1 ext2 ext4 persid binpersid-plain binpersid-module next-buffer stride
stride-negative offset offset-negative size size-negative size-huge size-of-floats
size-not-strides axes zip-bomb zip-slip zip-absolute zip-twice zip-overlap trailing
array-of-objects
"""
UNSAFE = {
    *(name for name in FILES if name.rsplit("-", 1)[0] in GADGETS),
    *_UNSAFE.split(),
}  # fmt: skip
"""Those that are attacks, not only damage: exit code 5."""
