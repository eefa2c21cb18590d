"""The peer of musher-endpoint in benchmarks/serving.py: a FastAPI app around a TorchScript file.

uvicorn serving_fastapi:app, with MODEL, THREADS and OPTIMIZE in the environment. As fast as such a server is written by hand:
uvloop and httptools, pictures decoded by torchvision's own libjpeg beside inference, one model that uses all cores.
"""
import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor

import torch
from fastapi import FastAPI, Request, Response
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

torch.set_num_threads(int(os.environ["THREADS"]))
model = torch.jit.load(os.environ["MODEL"]).eval()
if os.environ.get("OPTIMIZE"):
    model = torch.jit.optimize_for_inference(model)
transform = v2.Compose([
    v2.Resize(256, antialias=True), v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
decoders = ThreadPoolExecutor(2)
runner = ThreadPoolExecutor(1)
app = FastAPI()


def decode(body):
    return transform(decode_image(torch.frombuffer(bytearray(body), dtype=torch.uint8), ImageReadMode.RGB))[None]


def predict(inputs):
    with torch.inference_mode():
        return model(inputs).tolist()


for _ in range(3):
    predict(torch.zeros(1, 3, 224, 224))


@app.get("/ping")
async def ping():
    return Response()


@app.post("/invocations")
async def invocations(request: Request):
    loop = asyncio.get_running_loop()
    inputs = await loop.run_in_executor(decoders, decode, await request.body())
    return Response(json.dumps(await loop.run_in_executor(runner, predict, inputs)), media_type="application/json")
