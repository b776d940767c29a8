"""The list of methods: what is in it, under which papers, and what is kept out."""

import inspect
import os
import re
from pathlib import Path

import pytest

from loomweight.methods import PACKAGES, catalog, find, snake

PAPERS = (Path(__file__).parents[1] / os.environ.get("LOOMWEIGHT_DATA", "../shared/data")).parent / "papers"
#: the papers of issues whose methods are built: title -> a method that has it
METHODS = {
    "GP-NAS-ensemble: a model for NAS Performance Prediction": ("search", "gaussian_ensemble"),
    "ParZC: Parametric Zero-Cost Proxies for Efficient NAS": ("search", "par_zc"),
    "Robustifying and Boosting Training-Free Neural Architecture Search": ("search", "robot"),
    "FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid?": ("search", "boshnas"),
    "Analysis of Linear Mode Connectivity via Permutation-Based Weight Matching": ("align", "singular_alignment"),
    "PLeaS -- Merging Models with Permutations and Least Squares": ("align", "pleas"),
    "Layer-wise Linear Mode Connectivity": ("evaluate", "layerwise"),
    "Model Fusion via Optimal Transport": ("align", "ot_fusion"),
    "Robot Fleet Learning via Policy Merging": ("align", "fleet_merge"),
    "On Cross-Layer Alignment for Model Fusion of Heterogeneous Neural Networks": ("align", "cla_fusion"),
    "Towards Reversible Model Merging For Low-rank Weights": ("rules", "reversible"),
    "Diverse Weight Averaging for Out-of-Distribution Generalization": ("rules", "diwa"),
    "Model Stock: All we need is just a few fine-tuned models": ("rules", "model_stock"),
    "Model Merging by Uncertainty-Based Gradient Matching": ("rules", "gradient_matching"),
    "Spurious Feature Diversification Improves Out-of-distribution Generalization": ("rules", "wise_ft"),
    "Rewarded soups: towards Pareto-optimal alignment by interpolating weights fine-tuned on diverse rewards": ("rules", "rewarded_soup"),
    "Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights?": ("rules", "robust_signatures"),
    "Fusing finetuned models for better pretraining": ("rules", "fuse_bodies"),
    "Model Ratatouille: Recycling Diverse Models for Out-of-Distribution Generalization": ("rules", "ratatouille"),
    "Parameter Competition Balancing for Model Merging": ("rules", "pcb"),
    "Merging Models with Fisher-Weighted Averaging": ("rules", "fisher"),
    "ColD Fusion: Collaborative Descent for Distributed Multitask Finetuning": ("merge", "repository"),
    "If You Can't Use Them, Recycle Them: Optimizing Merging at Scale Mitigates Performance Tradeoffs": ("search", "study"),
    "Analyzing and Improving the Training Dynamics of Diffusion Models": ("trajectory", "post_hoc_ema"),
    "Deep Combinatorial Aggregation": ("trajectory", "dca"),
    "Weight Averaging Improves Knowledge Distillation under Domain Shift": ("trajectory", "wakd"),
    "Butterfly Effects of SGD Noise: Error Amplification in Behavior Cloning and Autoregression": ("trajectory", "gva"),
    "Neural Architecture Search: Two Constant Shared Weights Initialisations": ("evaluate", "epsinas"),
    "GradSign: Model Performance Inference with Theoretical Insights": ("evaluate", "grad_sign"),
    "Generalizing Few-Shot NAS with Gradient Matching": ("supernet", "few_shot"),
    "How to Train Your Super-Net: An Analysis of Training Heuristics in Weight-Sharing NAS": ("evaluate", "sparse_kendall"),
    "Deeper Insights into Weight Sharing in Neural Architecture Search": ("evaluate", "run_variance"),
    "NAS evaluation is frustratingly hard": ("evaluate", "relative_improvement"),
    "Evaluating the Search Phase of Neural Architecture Search": ("evaluate", "search_phase"),
    "Understanding Neural Architecture Search Techniques": ("evaluate", "structure_correlation"),
    "Mixture-of-Supernets: Improving Weight-Sharing Supernet Training with Architecture-Routed Mixture-of-Experts": ("supernet", "mixture_of_supernets"),
    "Balanced Mixture of SuperNets for Learning the CNN Pooling Architecture": ("supernet", "balanced_mixture"),
    "Poisoning the Search Space in Neural Architecture Search": ("evaluate", "poisoning"),
    "Towards One Shot Search Space Poisoning in Neural Architecture Search": ("evaluate", "poisoning"),
    "Weight-Entanglement Meets Gradient-Based Neural Architecture Search": ("supernet", "relaxed"),
    "GOLD-NAS: Gradual, One-Level, Differentiable": ("supernet", "gold_nas"),
    "Rethinking Architecture Selection in Differentiable NAS": ("supernet", "select_by_perturbation"),
    "ROME: Robustifying Memory-Efficient NAS via Topology Disentanglement and Gradient Accumulation": ("supernet", "rome"),
    "AutoHAS: Efficient Hyperparameter and Architecture Search": ("supernet", "auto_has"),
    "DropNAS: Grouped Operation Dropout for Differentiable Architecture Search": ("supernet", "drop_nas"),
    "RARTS: An Efficient First-Order Relaxed Architecture Search Method": ("supernet", "rarts"),
    "Do Not Train It: A Linear Neural Architecture Search of Graph Neural Networks": ("evaluate", "nac"),
    "Low-Rank Adapters Meet Neural Architecture Search for LLM Compression": ("derive", "from_peft"),
    "One QuantLLM for ALL: Fine-tuning Quantized LLMs Once for Efficient Deployments": ("supernet", "decoupled_adapters"),
    "Layer Swapping for Zero-Shot Cross-Lingual Transfer in Large Language Models": ("rules", "layer_swapping"),
    "PA&DA: Jointly Sampling PAth and DAta for Consistent NAS": ("supernet", "important_paths"),
    "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models": ("supernet", "sandwich"),
    "ShiftNAS: Improving One-shot NAS via Probability Shift": ("supernet", "shifting"),
    "AlphaNet: Improved Training of Supernets with Alpha-Divergence": ("supernet", "alpha_divergence"),
    "NASRec: Weight Sharing Neural Architecture Search for Recommender Systems": ("supernet", "any_connection"),
    "AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling": ("supernet", "attentive"),
    "Evolutionary Multi-objective Architecture Search Framework: Application to COVID-19 3D CT Classification": ("search", "emars"),
    "DεpS: Delayed ε-Shrinking for Faster Once-For-All Training": ("supernet", "delayed"),
    "Progressive Supernet Training for Efficient Visual Autoregressive Modeling": ("supernet", "progressive_depth"),
    "Neural Architecture Search via Combinatorial Multi-Armed Bandit": ("search", "nested_bandit"),
    "Mutation is all you need": ("search", "local_mutation"),
    "When Do Curricula Work in Federated Learning?": ("federate", "by_loss"),
    "Federated Optimization in Heterogeneous Networks": ("federate", "proximal"),
    "Momentum Benefits Non-IID Federated Learning Simply and Provably": ("federate", "client_momentum"),
    "Stochastic Controlled Averaging for Federated Learning with Communication Compression": ("federate", "scallion"),
    "Adaptive Federated Learning with Auto-Tuned Clients": ("federate", "delta_sgd"),
    "On the Generalization of Wasserstein Robust Federated Learning": ("federate", "wasserstein_robust"),
    "On Convergence of Federated Averaging Langevin Dynamics": ("federate", "langevin"),
    "LEAF: A Benchmark for Federated Settings": ("federate", "leaf"),
    "DiLoCo: Distributed Low-Communication Training of Language Models": ("federate", "di_lo_co"),
    "Asynchronous Local-SGD Training for Language Modeling": ("federate", "delayed_nesterov"),
    "Distributed Deep Learning in Open Collaborations": ("federate", "target_batch"),
    "Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness": ("federate", "one_byte"),
    "A Lightweight Method for Tackling Unknown Participation Statistics in Federated Averaging": ("federate", "fed_au"),
    "FedDisco: Federated Learning with Discrepancy-Aware Collaboration": ("federate", "fed_disco"),
    "Inverse Distance Aggregation for Federated Learning with Non-IID Data": ("federate", "ida"),
    "Revisiting Weighted Aggregation in Federated Learning with Neural Networks": ("federate", "fed_law"),
    "Principled Federated Domain Adaptation: Gradient Projection and Auto-Weighting": ("federate", "fed_gp"),
    "Fair Federated Medical Image Segmentation via Client Contribution Estimation": ("federate", "fed_ce"),
    "Internal Cross-layer Gradients for Extending Homogeneity to Heterogeneity in Federated Learning": ("federate", "in_co"),
    "Tackling Data Heterogeneity in Federated Learning via Loss Decomposition": ("federate", "principal_directions"),
    "Vanishing Variance Problem in Fully Decentralized Neural-Network Systems": ("federate", "variance_corrected"),
    "Analytic Federated Learning": ("federate", "analytic"),
    "Exploring Parameter-Efficient Fine-Tuning to Enable Foundation Models in Federated Learning": ("federate", "fedpeft"),
    "CELLM: An Efficient Communication in Large Language Models Training for Federated Learning": ("federate", "cellm"),
    "FRL: Federated Rank Learning": ("federate", "frl"),
    "Bold but Cautious: Unlocking the Potential of Personalized Federated Learning through Cautiously Aggressive Collaboration": ("federate", "fed_cac"),
    "Exploring Selective Layer Fine-Tuning in Federated Learning": ("federate", "selective"),
    "Bitwidth Heterogeneous Federated Learning with Progressive Weight Dequantization": ("federate", "prowd"),
    "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations": ("federate", "flora"),
    "Selective Aggregation for Low-Rank Adaptation in Federated Learning": ("federate", "fedsa_lora"),
    "Distributed Learning of Mixtures of Experts": ("federate", "reduce_mixtures"),
}
#: owed papers whose methods are not built yet
TO_COME = {
    "Merging Multi-Task Models via Weight-Ensembling Mixture of Experts",
    "Merging in a Bottle: Differentiable Adaptive Merging (DAM) and the Path from Averaging to Automation",
    "Tint Your Models Task-wise for Improved Multi-task Model Merging",
}


def test_every_built_method_is_listed_under_its_paper() -> None:
    listed = {(method.package, method.name): [paper.title for paper in method.papers] for method in catalog()}
    assert not {title: place for title, place in METHODS.items() if title not in listed.get(place, ())}


@pytest.mark.parametrize("file", ["align.md", "merge.md", "supernet.md"])
def test_titles_are_those_of_the_papers(file: str) -> None:
    if not (PAPERS / file).exists():
        pytest.skip(f"the list of papers, {PAPERS / file}, is not here; the titles were not compared with it")
    titles = set(re.findall(r"^## .+\[core\]\n(.+)$", (PAPERS / file).read_text(), re.MULTILINE))
    assert titles and titles <= {*METHODS, *TO_COME}
    listed = {paper.title for method in catalog() for paper in method.papers}
    assert titles - TO_COME <= listed
    assert not listed & TO_COME  # once built, a method belongs among METHODS


def test_parts_are_shown_with_their_method() -> None:
    names = {(method.package, method.name) for method in catalog()}
    parts = {
        (package.__name__.rpartition(".")[2], snake(name)): whole[1]
        for package in PACKAGES
        for name, thing in vars(package).items()
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and (whole := re.search(r"^Part of: (\w+)\.$", inspect.getdoc(thing) or "", re.MULTILINE))
    }
    assert {("align", "layer_evidence"), ("align", "activation_costs"), ("align", "assignment"), ("align", "between")} <= set(parts)
    assert not names & set(parts)
    for (package, name), whole in parts.items():
        (owner,) = [method for method in catalog() if (method.package, method.name) == (package, whole)]
        assert name in owner.parts
    assert sum(len(method.parts) for method in catalog()) == len(parts)
    assert find("cla-fusion").parts == ("layer_evidence",)
