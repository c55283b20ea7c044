"""Vision transformers: ViT, whose head turns tokens into a vector, and Swin, whose slots merge patches."""

from collections.abc import Sequence

from torch import Tensor, nn

from poolbench.models.layers import first_channels
from poolbench.models.registry import register
from poolbench.pooling.tokens import ClassToken

Shape = tuple[int, int, int]


class Vit(nn.Module):
    """timm's vision transformer with its head as a layer: pictures (N, C, H, W) to logits (N, classes).

    The head `pool` receives all tokens after the last norm, the class token first. Pictures of other sizes than `shape`
    are taken too, their positions interpolated.
    """

    def __init__(self, shape: Shape, classes: int, patch: int, width: int, depth: int, heads: int) -> None:
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        if patch < 1 or shape[1] % patch or shape[2] % patch:
            raise ValueError(f"model.patch must divide the pictures' {shape[1]} x {shape[2]} pixels, got {patch}")
        if width % heads:
            raise ValueError(f"model.heads must divide model.width, which is {width}, got {heads}")
        self.patch = patch
        self.trunk = VisionTransformer(
            img_size=shape[1:],
            patch_size=patch,
            in_chans=shape[0],
            num_classes=0,
            global_pool="",
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            dynamic_img_size=True,
        )
        self.pool = ClassToken()
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"pictures of {height} x {width} pixels do not divide into patches of {self.patch}")
        return self.classifier(self.pool(self.trunk(x)))


@register("vit_tiny", optimizer="adamw")
def vit_tiny(shape: Shape, classes: int, patch: int = 16) -> nn.Module:
    """ViT-Ti: Touvron et al., 2021."""
    return Vit(shape, classes, patch, 192, 12, 3)


@register("vit_small", optimizer="adamw")
def vit_small(shape: Shape, classes: int, patch: int = 16) -> nn.Module:
    """ViT-S: Touvron et al., 2021."""
    return Vit(shape, classes, patch, 384, 12, 6)


@register("vit_mini", optimizer="adamw")
def vit_mini(shape: Shape, classes: int, patch: int = 4, width: int = 48, depth: int = 2, heads: int = 3) -> nn.Module:
    """A ViT for pictures of 28 to 64 pixels."""
    from timm.layers import Attention

    network = Vit(shape, classes, patch, width, depth, heads)
    for layer in network.modules():
        if isinstance(layer, Attention):
            vars(layer)["fused_attn"] = False  # its backward on a CPU takes two thirds of a step for so few tokens
    return network


@register("swin_tiny", optimizer="adamw")
def swin_tiny(shape: Shape, classes: int) -> nn.Module:
    """Swin-T: Liu et al., 2021. Patch merging."""
    return _swin(shape, classes, 4, 96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 0.2)


@register("swin_mini", optimizer="adamw")
def swin_mini(
    shape: Shape, classes: int, patch: int = 4, width: int = 24, depths: Sequence[int] = (2, 1), window: int = 4
) -> nn.Module:
    """A Swin transformer for pictures of 28 to 64 pixels, its windows of 4 x 4 patches: its maps are small."""
    heads = [2**stage * 2 for stage in range(len(depths))]
    return _swin(shape, classes, patch, width, depths, heads, window, 0.0)


def _swin(
    shape: Shape,
    classes: int,
    patch: int,
    width: int,
    depths: Sequence[int],
    heads: Sequence[int],
    window: int,
    drop_path: float,
) -> nn.Module:
    from torchvision.models.swin_transformer import SwinTransformer

    network = SwinTransformer(
        [patch, patch],
        width,
        list(depths),
        list(heads),
        [window] * 2,
        stochastic_depth_prob=drop_path,
        num_classes=classes,
    )
    return first_channels(network, shape[0])
