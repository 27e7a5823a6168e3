"""`leeside ladder`: in which order people are paged."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from leeside.api import every
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn, invocation
from leeside.cli.names import Names, find_member, names_for
from leeside.cli.registry import Choice, choose
from leeside.cli.rota import all_rotas, find_rota
from leeside.cli.screen import moment, short
from leeside_protocol import oncall as o
from leeside_protocol.limits import STEP_DELAY_S

app = typer.Typer(
    help="Ladders: who is paged first, and who next. Behind the last step come all supervisors.",
    no_args_is_help=True,
)

LadderArgument = Annotated[str, typer.Argument(metavar="LADDER", help="A label, an id, or its first digits.")]
StepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--step",
        help="Whom, then how: 'crisis line + Ana, 60, repeats 1, language, specialty child, licence NY'. "
        "Once for each step, in order.",
    ),
]
PhoneOption = Annotated[
    list[str] | None, typer.Option("--phone", help="A line of the phone tree: 'state line=+18005550100'.")
]
_PAGE: Final = 500


async def all_ladders(desk: SignedIn) -> list[o.Ladder]:
    """Every ladder, those that ended too."""
    return await every(lambda after: desk.api.ladders(after, _PAGE))


async def find_ladder(desk: SignedIn, text: str) -> o.Ladder:
    """The ladder that a person means."""
    ladders = await all_ladders(desk)
    found = choose(
        "ladder",
        text,
        [
            Choice(bytes.fromhex(one.id), one.label, "ended" if one.ended_ms else "", past=bool(one.ended_ms))
            for one in ladders
        ],
    )
    return next(one for one in ladders if one.id == found.id.hex())


@app.command("list")
def list_ladders(
    context: typer.Context, ended: Annotated[bool, typer.Option(help="Those that ended, too.")] = False
) -> None:
    """All ladders; the oldest in use is the agency's default."""
    run = invocation(context)
    ladders = [one for one in run.run(all_ladders) if ended or not one.ended_ms]
    rows = [
        (
            short(one.id),
            one.label,
            str(len(one.steps)),
            str(len(one.phones)),
            f"ended {moment(one.ended_ms)}" if one.ended_ms else "in use",
        )
        for one in sorted(ladders, key=lambda one: (one.created_ms, one.id))
    ]
    run.screen.table("Ladders", ("id", "label", "steps", "phones", "state"), rows, ladders)


@app.command("show")
def show(context: typer.Context, ladder: LadderArgument) -> None:
    """One ladder, step by step."""
    run = invocation(context)

    async def work(desk: SignedIn) -> tuple[o.Ladder, dict[str, str], Names]:
        found = await find_ladder(desk, ladder)
        labels = {rota.id: rota.label for rota in await all_rotas(desk)}
        return found, labels, await names_for(desk, {m for step in found.steps for m in step.members})

    found, labels, names = run.run(work)
    steps = [(f"step {n}", _step_shown(step, labels, names)) for n, step in enumerate(found.steps, 1)]
    rows = [
        ("ladder", found.id),
        ("label", found.label),
        *steps,
        ("last", "all supervisors, and the phone tree; the alarm repeats until somebody takes it"),
        *(("phone", f"{phone.label} {phone.number}") for phone in found.phones),
    ]
    run.screen.facts(rows, found)


def _step_shown(step: o.LadderStep, labels: dict[str, str], names: Names) -> str:
    whom = [*(labels.get(rota, short(rota)) for rota in step.rotas), *(names.show(m) for m in step.members)]
    how = [
        f"{step.delay_s} s",
        *([f"repeats {step.repeats}"] if step.repeats else []),
        *(["who speaks the language"] if step.language else []),
        *([f"specialty {step.specialty}"] if step.specialty else []),
        *([f"licence {step.licence}"] if step.licence else []),
    ]
    return f"{' + '.join(whom)}: {', '.join(how)}"


@app.command("add")
def add(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="What it is called.")],
    steps: StepOption = None,
    phones: PhoneOption = None,
) -> None:
    """Add a ladder."""
    run = invocation(context)

    async def work(desk: SignedIn) -> o.Ladder:
        return await desk.api.create_ladder(
            o.NewLadder(label, await _steps(desk, steps or []), _phones(phones or []))
        )

    made = run.run(work)
    run.screen.say(f"Ladder {made.label} added. Next: leeside ladder show {short(made.id)}", made)


@app.command("change")
def change(
    context: typer.Context,
    ladder: LadderArgument,
    label: Annotated[str, typer.Option(help="Another label.")] = "",
    steps: StepOption = None,
    phones: PhoneOption = None,
) -> None:
    """Change a ladder; steps and phones are said anew as a whole. A consult under way keeps what it began with."""
    run = invocation(context)

    async def work(desk: SignedIn) -> o.Ladder:
        found = await find_ladder(desk, ladder)
        body = o.LadderChange(
            found.revision,
            label or None,
            None if steps is None else await _steps(desk, steps),
            None if phones is None else _phones(phones),
        )
        return await desk.api.change_ladder(found.id, body)

    changed = run.run(work)
    run.screen.say(f"Ladder {changed.label} changed.", changed)


@app.command("end")
def end(context: typer.Context, ladder: LadderArgument) -> None:
    """Take a ladder out of service, for good."""
    run = invocation(context)

    async def work(desk: SignedIn) -> o.Ladder:
        found = await find_ladder(desk, ladder)
        return await desk.api.change_ladder(found.id, o.LadderChange(found.revision, ended=True))

    ended = run.run(work)
    run.screen.say(f"Ladder {ended.label} has ended.", ended)


async def _steps(desk: SignedIn, texts: list[str]) -> tuple[o.LadderStep, ...]:
    return tuple([await _step(desk, text) for text in texts])


async def _step(desk: SignedIn, text: str) -> o.LadderStep:
    """A step as it is typed: whom, joined by `+`, then how it waits and whom it leaves out."""
    whom, *how = [part.strip() for part in text.split(",")]
    rotas: list[str] = []
    members: list[str] = []
    for named in (part.strip() for part in whom.split("+")):
        try:
            rotas.append((await find_rota(desk, named)).id)
        except CommandError as error:
            if error.exit_code is not Exit.NOT_FOUND:
                raise
            members.append((await find_member(desk, named)).id)
    delay_s, repeats, language, specialty, licence = STEP_DELAY_S, 0, False, "", ""
    for part in how:
        word, _, value = part.partition(" ")
        if re.fullmatch(r"[0-9]{1,4}", part):
            delay_s = int(part)
        elif word == "repeats" and re.fullmatch(r"[0-9]", value):
            repeats = int(value)
        elif part == "language":
            language = True
        elif word == "specialty" and value:
            specialty = value
        elif word == "licence" and value:
            licence = value
        else:
            raise CommandError(
                f"A step is not told by {part!r}: seconds, repeats N, language, specialty X, licence X.",
                Exit.USAGE,
                "step",
            )
    return o.LadderStep(tuple(rotas), tuple(members), delay_s, repeats, language, specialty, licence)


def _phones(texts: list[str]) -> tuple[o.Phone, ...]:
    pairs = [text.rpartition("=") for text in texts]
    if not all(label and number for label, _, number in pairs):
        raise CommandError("--phone is LABEL=+NUMBER.", Exit.USAGE, "phone")
    return tuple(o.Phone(label.strip(), number.replace(" ", "")) for label, _, number in pairs)
