"""A client of the service: typed answers, typed errors, retries.

Imports httpx and pydantic only::

    with Client("http://127.0.0.1:8000") as client:
        answer = client.predict(Path("image.jpeg"))
        print(answer.results[0])
"""

from service.client.clients import AsyncClient, Client
from service.client.exchange import ImageSource, Retry, ServiceError

__all__ = ["AsyncClient", "Client", "ImageSource", "Retry", "ServiceError"]
