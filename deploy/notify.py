"""Have a webhook told of every deployed run that needs somebody: `python deploy/notify.py URL`.

The Prefect server that PREFECT_API_URL names gets a block with the address and an automation on the states that runs of
deployments end in; a second call changes them. The webhook is sent `{"text": …}` by POST, as Slack, Mattermost,
Rocket.Chat and Zulip take it: which flow, how it ended, and the state's message, which names the first faults and the
report.
"""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import get_current_settings

NAME = "affstore-runs-that-need-somebody"
STATES = ("Failed", "Crashed", "TimedOut", "Partial", "Quarantined")
"""Partial: the time was over. Quarantined: inputs cannot be used as they are. Runs that were cancelled are not told."""


def automation(block: UUID) -> AutomationCore:
    """One notification for each run of a deployment that ends so; the stages of a run are runs without deployments."""
    trigger = {
        "type": "event",
        "posture": "Reactive",  # a change sends only what is written here, defaults not
        "expect": [f"prefect.flow-run.{state}" for state in STATES],
        "match_related": {"prefect.resource.role": "deployment"},
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 0,
    }
    action = {
        "type": "send-notification",
        "block_document_id": str(block),
        "subject": "{{ flow.name }} is {{ flow_run.state.name }}",
        "body": "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
    }
    return AutomationCore.model_validate({"name": NAME, "enabled": True, "trigger": trigger, "actions": [action]})


async def set_up(url: str) -> str:
    """Make the block and the automation, or change those that are there; says which."""
    block = CustomWebhookNotificationBlock(name=NAME, url=url, json_data={"text": "{{subject}}\n{{body}}"})
    made = automation(await block.save(NAME, overwrite=True))
    async with get_client() as client:
        known = await client.read_automations_by_name(NAME)
        if known:
            await client.update_automation(known[0].id, made)
        else:
            await client.create_automation(made)
    return f"{'changed' if known else 'made'}: {', '.join(STATES)} of deployed runs are told to the webhook"


def main() -> None:
    """Read the address, and do it on the server that is named."""
    if len(sys.argv) != 2 or not sys.argv[1].startswith(("http://", "https://")):
        sys.exit("Name the webhook's address: python deploy/notify.py https://chat.example.org/hooks/SECRET")
    if not get_current_settings().api.url:
        sys.exit("Set PREFECT_API_URL to your Prefect server, as http://SERVER:4200/api.")
    sys.stdout.write(asyncio.run(set_up(sys.argv[1])) + "\n")


if __name__ == "__main__":
    main()
