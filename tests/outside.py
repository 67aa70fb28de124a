"""Packages that are installed in a folder of a test."""


def install(folder, package, modules, entries, version="1.0"):
    """What an installed package leaves on the disk: modules, and a dist-info folder beside them.

    ``modules``: name -> source. ``entries``: the text of ``entry_points.txt``.
    """
    about = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(entries)
    return folder
