"""What the models are for, and what is known to limit them. Goes into every manifest."""

INTENDED_USE = (
    "Research and engineering of radiograph pipelines: an estimate of how probable pneumonia is "
    "on one frontal chest radiograph of a child. Not a medical device; not for decisions about "
    "a person's care."
)

LIMITATIONS = (
    "Trained on radiographs of children aged one to five from one hospital (Guangzhou Women and "
    "Children's Medical Center); adults, other hospitals and other devices may be read wrongly.",
    "Knows two classes only: every other finding is called one of them.",
    "Frontal views (PA, AP) only; laterals, other body parts and other modalities are outside. "
    "The scope gate finds most of them, and knows layouts rather than anatomy.",
    "Probabilities are calibrated for the share of pneumonia in the training data (about 74 %); "
    "at another prevalence they are too high or too low, and PPV and NPV differ.",
    "Labels of the training data come from graded readings of images, not from microbiology.",
)
