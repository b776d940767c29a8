"""Recipes whose results are frozen: mergekit's own YAML, each method and each way of saying numbers. Paths are relative."""

_TWO = "models:\n  - {model: one, parameters: {weight: 0.7}}\n  - {model: two, parameters: {weight: 0.5}}\n"
_THREE = "models:\n  - {model: one}\n  - {model: two}\n  - {model: three}\n"
_BASE = "base_model: base\n"
_WEIGHTS = "models:\n  - {model: base}\n  - {model: one, parameters: {weight: 0.7, density: 0.5}}\n  - {model: two, parameters: {weight: 0.4, density: 0.3}}\n"

RECIPES = {
    "linear": _TWO + "merge_method: linear\n",
    "linear, not normalized": _TWO + "merge_method: linear\nparameters: {normalize: false}\n",
    "linear with a base that is not among the models": _TWO + _BASE + "merge_method: linear\nparameters: {weight: 0.2}\n",
    "linear, gradient": "merge_method: linear\nmodels:\n  - {model: one, parameters: {weight: [0, 1, 0.25]}}\n  - {model: two, parameters: {weight: 1}}\n",
    "linear, filters": """
merge_method: linear
models:
  - model: one
    parameters:
      weight:
        - {filter: mlp, value: [0.2, 0.9]}
        - {filter: embed_tokens, value: 0.1}
        - {filter: layernorm, value: 3}
        - {value: 1}
  - {model: two, parameters: {weight: 1}}
""",
    "linear, precedence": """
merge_method: linear
slices:
  - sources:
      - {model: one, layer_range: [0, 2], parameters: {weight: [{filter: q_proj, value: 5}]}}
      - {model: two, layer_range: [0, 2]}
    parameters: {weight: [{filter: self_attn, value: 2}]}
  - sources:
      - {model: one, layer_range: [2, 4]}
      - {model: two, layer_range: [2, 4], parameters: {weight: 0.5}}
parameters: {weight: [1, 4]}
""",
    "slerp": """
merge_method: slerp
base_model: one
slices:
  - sources:
      - {model: one, layer_range: [0, 4]}
      - {model: two, layer_range: [0, 4]}
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
    - value: 0.5
""",
    "slerp, base second": "merge_method: slerp\nbase_model: two\nmodels: [{model: one}, {model: two}]\nparameters: {t: 0.3}\n",
    "nuslerp": _TWO + "merge_method: nuslerp\n",
    "nuslerp, rows": _TWO + "merge_method: nuslerp\nparameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n",
    "nuslerp, columns": _TWO + "merge_method: nuslerp\nparameters: {nuslerp_flatten: false}\n",
    "nuslerp from a base": _TWO + _BASE + "merge_method: nuslerp\n",
    "multislerp": _THREE + "merge_method: multislerp\nparameters: {weight: 1}\n",
    "multislerp from a base": _TWO + _BASE + "merge_method: multislerp\n",
    "multislerp, not normalized": _TWO + "merge_method: multislerp\nparameters: {normalize_weights: false}\n",
    "karcher": _THREE + "merge_method: karcher\n",
    "karcher, few steps": _THREE + "merge_method: karcher\nparameters: {max_iter: 1, tol: 1e-3}\n",
    "model_stock": _THREE + _BASE + "merge_method: model_stock\n",
    "model_stock, filter-wise": _THREE + _BASE + "merge_method: model_stock\nparameters: {filter_wise: true}\n",
    "task_arithmetic": _TWO + _BASE + "merge_method: task_arithmetic\n",
    "task_arithmetic, normalized and scaled": _TWO + _BASE + "merge_method: task_arithmetic\nparameters: {normalize: true, lambda: 0.8}\n",
    "ties": _WEIGHTS + _BASE + "merge_method: ties\n",
    "ties, not normalized": _WEIGHTS + _BASE + "merge_method: ties\nparameters: {normalize: false, lambda: 0.9, int8_mask: true}\n",
    "ties, rescaled": _WEIGHTS + _BASE + "merge_method: ties\nparameters: {rescale: true}\n",
    "ties, gradient of density": "base_model: base\nmerge_method: ties\nmodels: [{model: one}, {model: two}]\nparameters: {weight: 1, density: [0.2, 1]}\n",
    "ties, a weight below zero": _BASE
    + "merge_method: ties\nmodels: [{model: one, parameters: {weight: 1}}, {model: two, parameters: {weight: -0.5}}]\nparameters: {density: 0.6}\n",
    "dare_ties, dense": _TWO + _BASE + "merge_method: dare_ties\n",
    "dare_linear, dense": _TWO + _BASE + "merge_method: dare_linear\n",
    "della, dense": _TWO + _BASE + "merge_method: della\n",
    "della_linear, dense": _TWO + _BASE + "merge_method: della_linear\nparameters: {normalize: true}\n",
    "breadcrumbs": _WEIGHTS + _BASE + "merge_method: breadcrumbs\nparameters: {gamma: 0.1}\n",
    "breadcrumbs, rescaled": _WEIGHTS + _BASE + "merge_method: breadcrumbs\nparameters: {gamma: 0.1, rescale: true}\n",
    "breadcrumbs_ties": _WEIGHTS + _BASE + "merge_method: breadcrumbs_ties\nparameters: {gamma: 0.05}\n",
    "breadcrumbs_ties, more dropped than there is": _BASE
    + "merge_method: breadcrumbs_ties\nmodels: [{model: one}, {model: two}]\nparameters: {weight: 1, density: 0.95, gamma: 0.2}\n",
    "sce": _THREE + _BASE + "merge_method: sce\nparameters: {select_topk: 0.3}\n",
    "sce, all": _THREE + _BASE + "merge_method: sce\n",
    "nearswap": "merge_method: nearswap\nbase_model: base\nmodels: [{model: base}, {model: one}]\nparameters: {t: 0.02}\n",
    "arcee_fusion": "merge_method: arcee_fusion\nbase_model: base\nmodels: [{model: base}, {model: one}]\n",
    "passthrough, stacked": """
merge_method: passthrough
slices:
  - sources: [{model: one, layer_range: [0, 3]}]
  - sources: [{model: two, layer_range: [1, 4]}]
  - sources: [{model: one, layer_range: [3, 4]}]
""",
    "passthrough, scaled": """
merge_method: passthrough
slices:
  - sources: [{model: one, layer_range: [0, 4]}]
  - sources:
      - model: one
        layer_range: [2, 4]
        parameters:
          scale:
            - {filter: o_proj, value: 0.0}
            - {filter: down_proj, value: 0.0}
            - {value: 1.0}
""",
    "ties in slices": """
merge_method: ties
base_model: base
slices:
  - sources:
      - {model: one, layer_range: [1, 3], parameters: {weight: [0, 1], density: 0.5}}
      - {model: base, layer_range: [1, 3]}
      - {model: two, layer_range: [0, 2], parameters: {weight: 0.5, density: [{filter: layers.0.mlp, value: 0.25}, {value: 1}]}}
  - sources:
      - {model: three, layer_range: [3, 4]}
      - {model: base, layer_range: [3, 4]}
    parameters: {weight: [0.25, 0.75]}
""",
}
