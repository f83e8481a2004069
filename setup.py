"""Builds what cannot be written by hand: the protobuf stubs (package `payswitch`) and the Cython extensions."""

from pathlib import Path
from typing import ClassVar

from Cython.Build import cythonize
from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROTOS = sorted((ROOT / "protos" / "payswitch").rglob("*.proto"))


class BuildProtos(Command):
    """Generate `payswitch/v1/*_pb2*.py` and their type stubs from `protos/`."""

    description = "generate the protobuf stubs"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None: ...

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        import grpc_tools
        from grpc_tools import protoc

        for folder in (ROOT / "payswitch", ROOT / "payswitch" / "v1"):
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").write_text('"""Generated from protos/payswitch; never edited."""\n')
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        arguments = ["protoc", f"-I{ROOT / 'protos'}", f"-I{well_known}"]
        arguments += [f"--python_out={ROOT}", f"--pyi_out={ROOT}"]
        arguments += [f"--grpc_python_out={ROOT}", *map(str, PROTOS)]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")


class BuildExtensions(build_ext):
    def run(self) -> None:
        self.run_command("build_protos")
        super().run()


class BuildPython(build_py):
    def run(self) -> None:
        self.run_command("build_protos")
        super().run()


def extension(module: str, libraries: tuple[str, ...] = ()) -> Extension:
    source = module.replace(".", "/") + ".pyx"
    included = (ROOT / "hsm" / "core").glob("*") if module.startswith("hsm.") else (ROOT / source).parent.glob("*.pxi")
    return Extension(
        module,
        [source],
        libraries=list(libraries),
        include_dirs=["hsm/core"],
        depends=[str(each) for each in included],
        extra_compile_args=["-O2", "-Wno-deprecated-declarations"],
    )


EXTENSIONS = [
    extension("hsm._core", ("crypto", "dl")),
    extension("hsm._pin", ("crypto",)),
    extension("hsm._card", ("crypto",)),
    extension("hsm._emv", ("crypto",)),
    extension("hsm._dukpt", ("crypto",)),
    extension("hsm._key_block", ("crypto",)),
    extension("hsm._mac", ("crypto",)),
    extension("hsm._data", ("crypto",)),
    extension("hsm._data_key", ("crypto",)),
    extension("hsm._fpe", ("crypto",)),
    extension("hsm._sm", ("crypto",)),
    extension("hsm._envelope", ("crypto",)),
    extension("adapters.unionpay._codec"),
    extension("switch.entry._tlv"),
    extension("switch.routing._bins"),
]

setup(
    # The stubs' package is not there yet when a fresh clone is built.
    packages=[*find_packages(include=["switch*", "hsm*", "adapters*", "benchmarks*"]), "payswitch", "payswitch.v1"],
    ext_modules=cythonize(
        [each for each in EXTENSIONS if (ROOT / each.sources[0]).exists()],
        compiler_directives={"language_level": 3, "embedsignature": True},
    ),
    cmdclass={"build_protos": BuildProtos, "build_ext": BuildExtensions, "build_py": BuildPython},
    package_data={"": ["*.pyi", "*.pxd", "py.typed", "*.pxi", "*.h", "*.sql", "*.lua", "*.toml"]},
)
