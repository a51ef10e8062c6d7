"""One module a command: what it reads, what it calls, what it prints."""

from __future__ import annotations

import typer

from graphquant_cli.commands import (
    config,
    demo,
    export,
    plan,
    quantize,
    record,
    report,
    sensitivity,
    tune,
    verify,
)


def add_commands(app: typer.Typer) -> None:
    """Adds the built-in commands to `app`, in the order in which help lists them."""
    app.command("plan", epilog=plan.EPILOG)(plan.plan)
    app.add_typer(config.app, name="config")
    app.command("quantize", epilog=quantize.EPILOG)(quantize.quantize)
    app.command("tune", epilog=tune.EPILOG)(tune.tune)
    app.command("sensitivity", epilog=sensitivity.EPILOG)(sensitivity.sensitivity)
    app.command("export", epilog=export.EPILOG)(export.export)
    app.command("verify", epilog=verify.EPILOG)(verify.verify)
    app.command("report", epilog=report.EPILOG)(report.report)
    app.add_typer(record.app, name="record")
    app.command("demo", epilog=demo.EPILOG)(demo.demo)
