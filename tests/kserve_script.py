"""What KServe's REST client gets from a running service, as one line of JSON.

Run by the tests in an environment of its own: kserve wants other versions of shared libraries
than the service. Usage: ``python kserve_script.py ADDRESS MODEL SIDE_PX FILE...``
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def make_tensor(name: str, array: np.ndarray[Any, Any], datatype: str, binary: bool) -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


async def ask(address: str, model: str, side: int, files: list[bytes]) -> dict[str, Any]:
    """Call everything the client can, both ways."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))

    async def infer(tensor: InferInput, *names: str, binary: bool = False) -> dict[str, Any]:
        request = InferRequest(
            model,
            [tensor],
            request_outputs=[RequestedOutput(name) for name in names],
            parameters={"binary_data_output": binary},
        )
        answer = await client.infer(address, request, model_name=model)
        assert answer.id == request.id or request.id is None
        return {one.name: np.asarray(one.data).ravel().tolist() for one in answer.outputs}

    told: dict[str, Any] = {
        "live": await client.is_server_live(address),
        "ready": await client.is_server_ready(address),
        "model_ready": await client.is_model_ready(address, model),
        "other_ready": await client.is_model_ready(address, "other"),
    }
    texts = np.array([base64.b64encode(file) for file in files], dtype=np.object_)
    raw = np.array(files, dtype=np.object_)
    wanted = ("decision", "probability", "in_scope")
    told["files_json"] = await infer(make_tensor("image_bytes", texts, "BYTES", False), *wanted)
    told["files_binary"] = await infer(
        make_tensor("image_bytes", raw, "BYTES", True), *wanted, binary=True
    )
    grey = np.full((2, 1, side, side), 140, dtype=np.uint8)
    for way, binary in (("tensor_json", False), ("tensor_binary", True)):
        answer = await infer(make_tensor("image", grey, "UINT8", binary), binary=binary)
        told[way] = answer["probability"]
    junk = np.array([b"junk"], dtype=np.object_)
    try:
        await infer(make_tensor("image_bytes", junk, "BYTES", True))
    except httpx.HTTPStatusError as error:
        told["error"] = {"status": error.response.status_code, "text": str(error)}
    await client.close()
    return told


if __name__ == "__main__":
    given = [Path(path).read_bytes() for path in sys.argv[4:]]
    print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2], int(sys.argv[3]), given))))
