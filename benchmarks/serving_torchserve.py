"""TorchServe's handler for benchmarks/serving.py: the logits of a picture, with the preprocessing that the others do."""
import io

import torch
from PIL import Image
from torchvision import transforms
from ts.torch_handler.base_handler import BaseHandler


class Logits(BaseHandler):
    transform = transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

    def preprocess(self, data):
        pictures = [bytes(row.get("data") or row.get("body")) for row in data]
        return torch.stack([self.transform(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in pictures])

    def inference(self, data, *args, **kwargs):
        with torch.inference_mode():
            return self.model(data)

    def postprocess(self, data):
        return [[row] for row in data.tolist()]
