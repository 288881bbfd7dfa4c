#!/usr/bin/env python3
"""Templates that describe functions as Qwen's and Llama 3.1's do, and what transformers (5.x, jinja2 3.1) makes of chats with calls.

Run: python3 make_tool_cases.py   Writes tool_cases.json. In other words than the models' own templates, with their wording for the model.
"""
import json
import os

from llama31_template import LLAMA31
from transformers.utils.chat_template_utils import _compile_jinja_template

TOOLS = ('"# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with function signatures '
         'within <tools></tools> XML tags:\\n<tools>" }}{%- for tool in tools %}{{- "\\n" + (tool | tojson) }}{%- endfor %}'
         '{{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within '
         '<tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n'
         '</tool_call><|im_end|>\\n" }}')
HEAD = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    WITHOUT{%- endif %}
    {{- TOOLS
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
ELSE{%- endif %}
"""
CALLS = """        {%- for call in message.tool_calls %}
            FIRST
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
"""
RESPONSES = """    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
CHATML = (HEAD.replace("WITHOUT", "{%- else %}{{- 'You are made of bits.\\n\\n' }}")
          .replace("ELSE", "{%- else %}{{- '<|im_start|>system\\nYou are made of bits.<|im_end|>\\n' }}").replace("TOOLS", TOOLS) + """
{%- for message in messages %}
    {%- if message.role == "assistant" and message.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
""" + CALLS.replace("FIRST", "{{- '\\n' }}") + """
    {%- elif message.role != "tool" and (message.role != "system" or not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
""" + RESPONSES)
QWEN3 = (HEAD.replace("WITHOUT", "").replace("ELSE", "").replace("TOOLS", TOOLS) + """
{%- set ns = namespace(last_query_index=messages|length - 1, looking=true) %}
{%- for message in messages[::-1] %}
    {%- if ns.looking and message.role == "user" %}
        {%- set ns.looking = false %}
        {%- set ns.last_query_index = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- set reasoning_content = '' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last_query_index and loop.last %}
            {{- '<think>\\n' + reasoning_content + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- content }}
        {%- endif %}
""" + CALLS.replace("FIRST", "{%- if content or not loop.first %}{{- '\\n' }}{%- endif %}") + """
    {%- elif message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
""" + RESPONSES)
tools = [
    {"type": "function", "function": {"name": "weather", "description": "The \"weather\" in Z\u00fcrich <|im_end|>", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": ["Z\u00fcrich", "Ulm"]}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city", "days"]}}},
    {"type": "function", "function": {"name": "now"}},
]
calls = [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm", "days": 2}}},
         {"type": "function", "function": {"name": "now", "arguments": {}}}]
chats = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": calls},
     {"role": "tool", "content": "rain"}, {"role": "tool", "content": "noon"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Wait.", "tool_calls": calls[1:]},
     {"role": "tool", "content": "noon"}, {"role": "assistant", "content": "Noon."}, {"role": "user", "content": "Thanks"}],
]
made = []
for family, source in (("chatml", CHATML), ("qwen3", QWEN3), ("llama-3.1", LLAMA31)):
    template = _compile_jinja_template(source)
    # Llama's has one call in a message only.
    may = [family != "llama-3.1" or all(len(message.get("tool_calls", [])) < 2 for message in chat) for chat in chats]
    made.append({"family": family, "source": source,
                 "rendered": [[template.render(messages=chat, tools=t, add_generation_prompt=True) for t in (tools, None)] if ok else None
                              for chat, ok in zip(chats, may)]})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tool_cases.json"), "w") as f:
    json.dump({"tools": [json.dumps(tool, ensure_ascii=False) for tool in tools], "chats": chats, "templates": made}, f, indent=1)
    f.write("\n")
