"""What each score is, in a sentence."""

from __future__ import annotations

import re

MEANINGS = {
    r"canary": "how well subjects planted in the training set are told from others, or how many are drawn again for their mask",
    r"blind_auc": "AUC of an attack that never sees the model: above 1/2 the split itself gives members away",
    r"fcre_auc$": "AUC of the study's attack as its code does it; slices of one subject stand on both sides of its classifier",
    r"extraction_auc": "AUC of telling training subjects from held-out ones by how near the samples for their masks come to them",
    r"extraction_rate": "share of training subjects whose image is drawn again for their mask",
    r"_auc": "AUC of an attack that tells subjects of the training from others; 0.5 is guessing",
    r"_tpr_at_low_fpr": "share of training subjects found where one in a thousand others is taken for one",
    r"_tpr_at_fpr": "share of training subjects found at the stated rate of others taken for them, or the lowest that their number supports",
    r"mask_copy_rate": "share of synthetic masks nearer to a training mask than held-out subjects' masks come at the stated false-positive rate",
    r"copy_rate": "share of synthetic images nearer to a training image than held-out subjects come at the stated false-positive rate",
    r"nn_ratio": "mean distance to the nearest training row over that to the nearest of another subject; near 0 for copies",
    r"copied_subjects|copied_masks": "share of training subjects with at least one near-copy",
    r"authenticity": "share of synthetic images farther from their nearest training image than that is from its own nearest",
    r"data_copying": "whether synthetic images lie nearer to training images than held-out ones do",
    r"memorisation_step": "step from which the lower limit of an attack's AUC stays above 1/2",
    r"kid": "squared distance of the distributions of synthetic and real features by a polynomial kernel",
    r"fid": "Fréchet distance of the distributions of synthetic and real features, taken as normal",
    r"precision": "share of synthetic images that lie within the real ones",
    r"recall": "share of real images that lie within the synthetic ones",
    r"density": "how many real neighbourhoods hold a synthetic image, over how many are expected to",
    r"coverage": "share of real images with a synthetic one in their neighbourhood",
    r"diversity": "mean distance of synthetic images to each other",
    r"mask_": "shapes of the synthetic masks against those of held-out subjects",
    r"reconstruction": "what the autoencoder loses of a real image",
    r"adherence_yield": "share of the pairs whose masks agree as well as is asked of an export",
    r"adherence": "agreement of the mask that a segmenter of real images finds with the mask that the image was drawn for",
    r"psnr|ssim|lpips": "likeness of a synthetic image to the real image of the same mask; neither high nor low is good in itself",
    r"dice_ratio": "Dice over that of the same network trained on real images",
    r"dice_gap": "Dice less that of the same network trained on real images",
    r"_gain$": "Dice that synthetic images add beside few real subjects, over the same network trained on those subjects alone",
    r"dice|iou": "overlap with the true mask of unseen subjects of a network trained on synthetic images, or on those that the name says",
    r"hd95|asd": "distance of the contours of that network from the true ones",
    r"volume_error|ef_error": "error of volume or ejection fraction by that network",
    r"worth": "how many real patients the synthetic set is worth in training",
}  # fmt: skip
"""By a part of the name; of several the first."""


def meaning(name: str) -> str:
    """The sentence on a score, after its name; the name alone where there is none."""
    words = next(
        (words for part, words in MEANINGS.items() if re.search(part, name.split("/", 1)[-1])), ""
    )
    return f"{name}: {words}" if words else name
