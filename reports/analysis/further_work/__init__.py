"""What further seeds and rows could still settle, and in which order `paretune settle` spends its time on them."""
