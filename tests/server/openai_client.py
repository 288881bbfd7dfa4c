#!/usr/bin/env python3
"""The official openai client for Python against `tern serve` with the model that ships:

    openai_client.py path/to/tern

The client checks every answer and every chunk against the types that OpenAI publishes (its strict mode). It is
looked for where tools/install-openai-client puts it and among Python's own packages; exit status 77 where it is not
there: skipped.
"""
import asyncio
import pathlib
import sys
import time

from programs import serving

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build/openai-client-python"))
try:
    import openai
except ImportError as absent:
    print(f"skipped: openai_client_python: {absent}; tools/install-openai-client installs the Python package openai")
    sys.exit(77)

MESSAGES = [{"role": "user", "content": "Once upon a time"}]


def models(client, model):
    (entry,) = client.models.list()
    assert client.models.retrieve(model) == entry and entry.object == "model"
    try:
        client.models.retrieve("nothing")
        raise AssertionError("expected an error")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error.code


def chat(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=20, seed=1, logprobs=True,
                                            top_logprobs=2)
    assert answer.usage.completion_tokens == 20 and answer._request_id
    assert "".join(token.token for token in answer.choices[0].logprobs.content) == answer.choices[0].message.content


def stream_adds_up(client, model):
    request = {"model": model, "messages": MESSAGES, "max_tokens": 40, "seed": 2, "n": 2}
    whole = client.chat.completions.create(**request)
    texts, usage = ["", ""], None
    for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
        usage = chunk.usage or usage
    assert texts == [choice.message.content for choice in whole.choices]
    assert usage.completion_tokens == whole.usage.completion_tokens


def stream_helper(client, model):
    # It takes an answer that was cut off for an error.
    request = {"model": model, "messages": MESSAGES, "max_tokens": 300, "seed": 3, "stop": "."}
    whole = client.chat.completions.create(**request)
    with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert text == final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason


def completions(client, model):
    request = {"model": model, "prompt": ["One day", "The dog"], "max_tokens": 20, "seed": 4, "logprobs": 2}
    whole = client.completions.create(**request)
    # The types know no null, which a stream's finish_reason and an echo's first logprob have here and with OpenAI.
    loose = openai.OpenAI(api_key="none", base_url=client.base_url, max_retries=0)
    texts = ["", ""]
    for chunk in loose.completions.create(**request, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]
    echoed = loose.completions.create(model=model, prompt="One day", max_tokens=0, echo=True, logprobs=1)
    assert echoed.choices[0].text == "One day" and echoed.choices[0].logprobs.token_logprobs[0] is None


def errors(client, model):
    try:
        client.chat.completions.create(model=model, messages=MESSAGES, temperature=3000)
        raise AssertionError("expected an error")
    except openai.BadRequestError as error:
        assert (error.param, error.code, error.type) == ("temperature", "invalid_value", "invalid_request_error")
        assert error.request_id


def closing_cancels(client, model):
    with client.chat.completions.create(model=model, messages=MESSAGES, n=64, stream=True,
                                        extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))
    until = time.monotonic() + 5
    while client.get("/../health", cast_to=object)["running"] != 0:
        assert time.monotonic() < until, "the request still runs"
        time.sleep(0.05)


def together(client, model):
    def request(seed):
        return {"model": model, "messages": MESSAGES, "max_tokens": 20, "seed": seed}

    async def ask():
        async with openai.AsyncOpenAI(api_key="none", base_url=client.base_url, max_retries=0) as other:
            return await asyncio.gather(*(other.chat.completions.create(**request(seed)) for seed in range(4)))

    alone = [client.chat.completions.create(**request(seed)).choices[0].message.content for seed in range(4)]
    assert [answer.choices[0].message.content for answer in asyncio.run(ask())] == alone


def main():
    tests = [models, chat, stream_adds_up, stream_helper, completions, errors, closing_cancels, together]
    failed = 0
    with serving(sys.argv[1]) as (server, started):
        client = openai.OpenAI(api_key="none", base_url=started["url"] + "/v1", max_retries=0,
                               _strict_response_validation=True)
        for test in tests:
            try:
                test(client, started["model"])
                print(f"ok {test.__name__}")
            except Exception as error:  # pylint: disable=broad-except
                print(f"FAILED {test.__name__}: {type(error).__name__}: {error}")
                failed += 1
    if server.returncode != 0:
        print(f"FAILED stop: exit status {server.returncode}")
        failed += 1
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
