"""Tools for workflows alone: ours under their ids of the Tool Shed, and stand-ins for tools of others."""

from __future__ import annotations

import shutil

from .layout import SHED, STAND_INS, Site, read_workflow_tools

REVISION = "tested"


def place_shed_tools(site: Site) -> list[str]:
    """Copy tools to where Galaxy installs repositories of the Tool Shed, and return their lines of the list of tools.

    Galaxy takes a tool without a record in its database for one of the Tool Shed only in such a folder. The tools are
    hidden, because the panel shows ours under their short ids.
    """
    root = site.server / "shed_tools"
    shutil.rmtree(root, ignore_errors=True)
    lines = [f'<tool file="{STAND_INS / "param_value_from_file.xml"}" hidden="true"/>']
    for tool in read_workflow_tools(site):
        owner, repository, _, version = tool.shed_id.removeprefix(f"{SHED}/").split("/")
        folder = root / SHED / owner / repository / REVISION
        if not folder.exists():
            shutil.copytree(tool.path.parent, folder)
            shutil.copy(STAND_INS / "macros.xml", folder.parents[1])  # where the stand-ins look for it
        lines += [
            f'<tool file="{folder / tool.path.name}" guid="{tool.shed_id}" hidden="true">',
            f"<tool_shed>{SHED.split('/')[0]}</tool_shed>",
            f"<repository_name>{repository}</repository_name>",
            f"<repository_owner>{owner}</repository_owner>",
            f"<installed_changeset_revision>{REVISION}</installed_changeset_revision>",
            f"<version>{version}</version>",
            "</tool>",
        ]
    return lines
