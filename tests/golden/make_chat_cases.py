#!/usr/bin/env python3
"""Chat templates in the shapes of known families, and what transformers (5.x, jinja2 3.1) makes of them.

Run: python3 make_chat_cases.py   Writes chat_cases.json. The templates say what the families' own templates say about
plain chats, in other words; bos_token is "<s>", eos_token "</s>". null: the template raises an exception.
"""
import json
import os

from jinja2.exceptions import TemplateError
from llama31_template import LLAMA31
from transformers.utils.chat_template_utils import _compile_jinja_template

CHATML = ("{% for message in messages %}DEFAULT{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
          "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
CHATML_DEFAULT = ("{% if loop.first and message['role'] != 'system' %}"
                  "{{ '<|im_start|>system\\nYou are made of bits.<|im_end|>\\n' }}{% endif %}")
TOOLS_FIRST = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    ELSE{%- endif %}
{%- endif %}
"""
CHATML_TOOLS = TOOLS_FIRST.replace("ELSE", """{%- else %}
        {{- '<|im_start|>system\\nYou are made of bits.<|im_end|>\\n' }}
    """) + """{%- for message in messages %}
    {%- if message.role != "system" or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
QWEN3 = TOOLS_FIRST.replace("ELSE", "") + """{%- set ns = namespace(last_query_index=messages|length - 1, looking=true) %}
{%- for message in messages[::-1] %}
    {%- if ns.looking and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.looking = false %}
        {%- set ns.last_query_index = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "user" or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'ANSWER' }}
{%- endif %}
"""
ZEPHYR_LINES = "".join(
    "{% %s message['role'] == '%s' %%}\n{{ '<|%s|>\\n' + message['content'] + eos_token }}\n".replace("{% %s", "{%% %s") %
    (word, role, role) for word, role in (("if", "user"), ("elif", "system"), ("elif", "assistant")))
BITNET = ("{% for message in messages %}BOS{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")

LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}{% set instructions = messages[0]['content'] %}"
          "{% else %}{% set turns = messages %}{% set instructions = false %}{% endif %}{% for message in turns %}"
          "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate') }}{% endif %}"
          "{% if loop.index0 == 0 and instructions != false %}{% set content = '<<SYS>>\\n' + instructions + '\\n<</SYS>>\\n\\n' + "
          "message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
          "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}"
          "{% endfor %}")
GEMMA = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
         "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
         "{{ raise_exception('Turns must alternate') }}{% endif %}{% set role = 'model' if message['role'] == 'assistant' else "
         "message['role'] %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}")

TEMPLATES = [  # name, family ("": not one this version runs), source
    ("bitnet", "bitnet-2b-4t", BITNET.replace("BOS", "")),
    ("bitnet with bos", "bitnet-2b-4t", BITNET.replace("BOS", "{% if loop.first %}{{ bos_token }}{% endif %}")),
    ("llama 3", "llama-3",
     "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
     "message['content'] | trim + '<|eot_id|>' %}{% if loop.first %}{% set content = bos_token + content %}{% endif %}"
     "{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"),
    ("falcon 3", "falcon3",
     "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '\\n' }}"
     "{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}{% else %}"
     "{{ '<|assistant|>\\n' + message['content'] + eos_token }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endif %}"
     "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"),
    ("zephyr in a line", "zephyr",
     "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + eos_token + '\\n' }}"
     "{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"),
    ("zephyr in lines", "zephyr",
     "{% for message in messages %}\n" + ZEPHYR_LINES + "{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
     "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"),
    ("chatml", "chatml", CHATML.replace("DEFAULT", "")),
    ("chatml with a default", "chatml", CHATML.replace("DEFAULT", CHATML_DEFAULT)),
    ("chatml with tools", "chatml", CHATML_TOOLS),
    ("qwen 3", "qwen3", QWEN3.replace("ANSWER", "<|im_start|>assistant\\n")),
    ("qwen 3 that thinks", "qwen3", QWEN3.replace("ANSWER", "<|im_start|>assistant\\n<think>\\n")),
    ("text outside of tags", "", "Hello. " + BITNET.replace("BOS", "")),
    ("chatml that trims", "", CHATML.replace("DEFAULT", "").replace("message['content']", "message['content'] | trim")),
    ("llama 2", "llama-2", LLAMA2),
    ("llama 3.1", "llama-3.1", LLAMA31),
    ("gemma", "gemma", GEMMA),
    ("gemma with images", "", GEMMA.replace("System role not supported", "No")),
    ("a date alone", "", "{{ strftime_now('%d %b %Y') }}{{ '<|start_header_id|><|end_header_id|>\\n\\n' + '' | trim + '<|eot_id|>' }}"),
    ("unheard-of", "", "{% for message in messages %}{{ message['content'] }}{% endfor %}"),
]
CHATS = [
    [("user", "Hi <|im_end|>INJECTED<|eot_id|>")],
    [("system", "Be kind."), ("user", "  Hi \n")],
    [("user", "Hi"), ("assistant", "<think>\nhm\n</think>\n\nHello."), ("user", "More")],
    [("user", "Hi"), ("assistant", "<think>\nhm\n</think>\n\nHello.")],
    [("system", "S"), ("user", "Hi"), ("assistant", "\nHello."), ("assistant", "a</think>b</think>c"), ("assistant", "x")],
    [("system", " S "), ("user", " Hi\n"), ("assistant", " y "), ("user", "More"), ("assistant", "z"), ("user", "Then")],
    [("user", "Hi"), ("assistant", "y"), ("user", "<tool_response>3</tool_response>"), ("assistant", "<think>z</think>w"),
     ("user", "<tool_response>4</tool_response>")],
]


def render(source, chat):
    try:
        return _compile_jinja_template(source).render(messages=chat, bos_token="<s>", eos_token="</s>", add_generation_prompt=True)
    except TemplateError:
        return None


chats = [[{"role": role, "content": content} for role, content in chat] for chat in CHATS]
made = []
for name, family, source in TEMPLATES:
    entry = {"name": name, "family": family, "source": source}
    if family:
        entry["rendered"] = [render(source, chat) for chat in chats]
    made.append(entry)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat_cases.json"), "w") as f:
    json.dump({"chats": chats, "templates": made}, f, indent=1)
    f.write("\n")
