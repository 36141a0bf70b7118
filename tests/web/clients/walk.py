"""The five-step walk with a client that openapi-python-client makes of the document alone: connect, list, sync, read,
disconnect."""

import json
import os
import re
import uuid

import httpx
from metriq_lab_client import AuthenticatedClient
from metriq_lab_client.api.connect import connect_tiktok
from metriq_lab_client.api.creators import (
    disconnect_creator,
    list_creators,
    list_videos,
    show_creator,
    show_profile,
    sync_creator,
)
from metriq_lab_client.models import ConnectRequest, Failure, ListCreatorsStatus, ListVideosOrder, ListVideosSort

REF = "python-walk"


def data(answer):
    """What was asked for; an error of the API, with its code, is raised."""
    if answer is None or isinstance(answer, Failure):
        raise RuntimeError(answer)
    return answer.data


def consent(auth_url: str) -> None:
    """Allows everything on the sandbox's consent page, as a creator would, and comes back."""
    page = httpx.get(auth_url).text
    creator = re.search(r'name="creator" value="([^"]+)"', page)
    form = {
        "creator": creator.group(1) if creator else "",
        "action": "allow",
        "scope": re.findall(r'name="scope" value="([^"]+)"', page),
    }
    httpx.post(auth_url, data=form, follow_redirects=True).raise_for_status()


client = AuthenticatedClient(
    base_url=os.environ["METRIQLAB_URL"],
    token=os.environ["METRIQLAB_API_KEY"],
    prefix="",
    auth_header_name="x-api-key",
    timeout=httpx.Timeout(90.0),
)
body, key = ConnectRequest(external_ref=REF), str(uuid.uuid4())
begun = data(connect_tiktok.sync(client=client, body=body, idempotency_key=key))
again = data(connect_tiktok.sync(client=client, body=body, idempotency_key=key))
assert begun.state == again.state, "the same request was answered twice"
consent(begun.auth_url)
listed = data(list_creators.sync(client=client, external_ref=REF, status=ListCreatorsStatus.ACTIVE))
creator = listed[0].id
assert data(sync_creator.sync(creator, client=client, prefer="wait=60")).synced
profile = data(show_profile.sync(creator, client=client))
videos = data(
    list_videos.sync(creator, client=client, limit=5, sort=ListVideosSort.VIEWS, order=ListVideosOrder.DESC)
)
gone = data(disconnect_creator.sync(creator, client=client, prefer="wait=60"))
refused = show_creator.sync(creator, client=client)
print(
    json.dumps(
        {
            "creators": len(listed),
            "username": profile.username,
            "externalRef": profile.external_ref,
            "views": [video.views for video in videos.items],
            "disconnected": gone.disconnected,
            "afterwards": refused.error.code if isinstance(refused, Failure) else None,
        }
    )
)
