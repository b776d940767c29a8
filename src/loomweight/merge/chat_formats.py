"""Chat formats by name, as templates in Jinja. The wording is ours, the formats are the documented ones.

`chatml`: OpenAI, "Chat Markup Language" (2023). `llama3`: Meta, "Llama 3 model card and prompt formats" (2024). `mistral`:
Mistral AI, "Instruct tokenizer v1": a system message goes before the first user message. `alpaca`: Stanford Alpaca's prompt
without its opening sentence, which a system message may hold. `exaone`: LG AI Research, EXAONE 3.5's model card.
mergekit 0.1.5 differs in three: a line break between turns of llama3, indentation in exaone, and alpaca's prompt for the answer
on the line of the question.
"""

_TURN_BY_TURN = "{% for message in messages %}"
_END = "{% endfor %}"
_PROMPT = "{% if add_generation_prompt %}"
_FI = "{% endif %}"

_CHATML = (
    _TURN_BY_TURN
    + "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    + _END
    + _PROMPT
    + "{{ '<|im_start|>assistant\\n' }}"
    + _FI
)

_LLAMA3 = (
    "{{ bos_token }}"
    + _TURN_BY_TURN
    + "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    + _END
    + _PROMPT
    + "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    + _FI
)

_MISTRAL = (
    "{{ bos_token }}{% set told = namespace(system='') %}"
    + _TURN_BY_TURN
    + "{% if message['role'] == 'system' %}{% set told.system = message['content'] + '\\n\\n' %}"
    + "{% elif message['role'] == 'user' %}{{ ' [INST] ' + told.system + message['content'] + ' [/INST]' }}{% set told.system = '' %}"
    + "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + eos_token }}"
    + "{% else %}{{ raise_exception('mistral knows the roles system, user and assistant, not ' + message['role']) }}"
    + _FI
    + _END
)

_ALPACA = (
    _TURN_BY_TURN
    + "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    + "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
    + "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}"
    + "{% else %}{{ raise_exception('alpaca knows the roles system, user and assistant, not ' + message['role']) }}"
    + _FI
    + _END
    + _PROMPT
    + "{{ '### Response:\\n' }}"
    + _FI
)

_EXAONE = (
    "{% if not messages or messages[0]['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' }}{% endif %}"
    + _TURN_BY_TURN
    + "{{ '[|' + message['role'] + '|]' + message['content'] }}"
    + "{{ '\\n' if message['role'] == 'user' else '[|endofturn|]\\n' }}"
    + _END
    + _PROMPT
    + "{{ '[|assistant|]' }}"
    + _FI
)

#: name -> template
FORMATS = {"alpaca": _ALPACA, "chatml": _CHATML, "exaone": _EXAONE, "llama3": _LLAMA3, "mistral": _MISTRAL}
